"""What a network file holds is read when it is first asked for."""

from dataclasses import replace

from pretrained import load_network


def test_networks_are_read_when_first_asked_for(snapshot):
    """Opening looks at names and shapes only; G_ema is read without G and D."""
    net = load_network(snapshot)
    read = []
    for name, part in net.parts.items():
        for key, stored in part.tensors.items():
            part.tensors[key] = replace(stored, read=lambda k=f"{name}.{key}", r=stored.read: (read.append(k), r())[1])
    assert not read
    net.generator()
    assert read and all(k.startswith("G_ema.") for k in read)
    assert net.G_ema is net.G_ema and len(read) == len(net.parts["G_ema"].tensors)
