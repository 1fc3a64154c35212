"""HDR histograms as a record has them: base64 of the V2 deflate form, read with nothing but the standard library."""

import base64
import struct
import zlib

V2_COOKIE, V2_DEFLATE_COOKIE = 0x1C849303, 0x1C849304
# 3 significant digits: values below 2,048 are exact, each doubling of the range has 1,024 more steps.
SUB_BUCKETS_HALF = 1024


class Histogram:
    """Values with their counts, in ascending order. A value stands for all that its step holds, and is their lower end."""

    def __init__(self, *texts):
        counts = {}
        for text in filter(None, texts):
            for value, count in decode(text):
                counts[value] = counts.get(value, 0) + count
        self.values = sorted(counts.items())
        self.total = sum(counts.values())

    def share_above(self, value):
        return sum(count for at, count in self.values if at >= value) / self.total

    def quantile(self, share):
        seen = 0
        for value, count in self.values:
            seen += count
            if seen >= share * self.total:
                return value
        raise AssertionError("the histogram is empty")

    @property
    def mean(self):
        return sum(value * count for value, count in self.values) / self.total

    @property
    def max(self):
        return self.values[-1][0]


def decode(text):
    outer = base64.b64decode(text)
    cookie, length = struct.unpack_from(">II", outer)
    assert cookie & ~0xF0 == V2_DEFLATE_COOKIE & ~0xF0, hex(cookie)
    inner = zlib.decompress(outer[8 : 8 + length])
    cookie, length, _, digits, lowest, _, _ = struct.unpack_from(">IIIIQQd", inner)
    assert cookie & ~0xF0 == V2_COOKIE & ~0xF0 and (digits, lowest) == (3, 1), (hex(cookie), digits, lowest)
    index = 0
    for number in zigzags(inner[40 : 40 + length]):
        if number < 0:
            index -= number
        else:
            if number:
                yield value_of(index), number
            index += 1


def zigzags(data):
    value, shift = 0, 0
    for byte in data:
        # The ninth byte of a number has eight bits of it.
        if shift == 56:
            value |= byte << shift
        else:
            value |= (byte & 0x7F) << shift
            if byte & 0x80:
                shift += 7
                continue
        yield (value >> 1) ^ -(value & 1)
        value, shift = 0, 0


def value_of(index):
    bucket = index // SUB_BUCKETS_HALF - 1
    if bucket < 0:
        return index
    return (index % SUB_BUCKETS_HALF + SUB_BUCKETS_HALF) << bucket
