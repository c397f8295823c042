"""What a model is made of, what it costs, and what its features see."""

from jaxcv.analysis.counts import (
    MULTIPLY_ADDS,
    count_multiply_adds,
    count_operand_bytes,
    count_parameters,
)
from jaxcv.analysis.formulas import conv_multiply_adds, conv_parameters, output_size
from jaxcv.analysis.latency import Latency, measure_latency
from jaxcv.analysis.memory import count_activation_bytes
from jaxcv.analysis.receptive_field import (
    ReceptiveField,
    Window,
    chain_receptive_field,
    effective_receptive_field,
    receptive_field,
)

__all__ = [
    "MULTIPLY_ADDS",
    "Latency",
    "ReceptiveField",
    "Window",
    "chain_receptive_field",
    "conv_multiply_adds",
    "conv_parameters",
    "count_activation_bytes",
    "count_multiply_adds",
    "count_operand_bytes",
    "count_parameters",
    "effective_receptive_field",
    "measure_latency",
    "output_size",
    "receptive_field",
]
