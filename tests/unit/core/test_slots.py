"""How the machine is shared out, and what is offered for a share."""

import pytest

from agent.core.models import Gpu, Offer, Slot
from agent.core.slots import RESERVED_MIB, Machine, offer_of, slots_of

BIG = Gpu("GPU-big", "NVIDIA RTX A6000", "ampere", 49140)
SMALL = Gpu("GPU-small", "NVIDIA T400", "turing", 4096)


@pytest.mark.parametrize(
    ("machine", "caps", "slots"),
    [
        (Machine(RESERVED_MIB + 8000, 8), (None, None), [(8000, 8, ())]),
        (Machine(RESERVED_MIB + 8000, 8), (4000, 2.5), [(4000, 2, ())]),
        (Machine(RESERVED_MIB + 8000, 8), (99_000, 64.0), [(8000, 8, ())]),
        (Machine(RESERVED_MIB + 8000, 8), (None, 0.5), [(8000, 1, ())]),
        (Machine(512, 1), (None, None), [(256, 1, ())]),
        (
            Machine(RESERVED_MIB + 8000, 8, (BIG, SMALL)),
            (None, None),
            [(4000, 4, (BIG,)), (4000, 4, (SMALL,))],
        ),
    ],
)
def test_each_gpu_is_a_slot_with_an_even_share(machine, caps, slots):
    """No slot offers more than a job may use, and none offers nothing."""
    got = slots_of(machine, *caps)
    assert [(slot.memory_mib, slot.cpu_cores, slot.gpus) for slot in got] == slots
    assert [slot.id for slot in got] == list(range(len(slots)))


def test_the_offer_names_the_gpu():
    """By `gpu_mem`, model and architecture; the smallest counts where a slot has several."""
    assert offer_of(Slot(0, 4000, 4, (BIG,)), ("lab",)) == Offer(
        4000, 4, gpu_mem_mib=49140, gpu_model="NVIDIA RTX A6000", gpu_archi="ampere", groups=("lab",)
    )
    assert offer_of(Slot(0, 4000, 4, (BIG, SMALL)), ()).gpu_mem_mib == 4096


def test_a_slot_without_a_gpu_offers_none():
    """So only jobs without a GPU's need come."""
    assert offer_of(Slot(0, 4000, 4), ()) == Offer(4000, 4)
