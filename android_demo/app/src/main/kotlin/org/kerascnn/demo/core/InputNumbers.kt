package org.kerascnn.demo.core

import java.nio.ByteBuffer

/** From bytes of the network's size to the numbers that it takes; see kerascnn/preprocessing.py. */
internal class InputNumbers(private val input: InputSpec) {
    private val buffer =
        direct(input.height * input.width * input.channels * input.type.bytes)

    /** What a byte becomes, 256 numbers a channel of the network. */
    private val table = FloatArray(256 * input.channels) { at ->
        val (channel, byte) = at / 256 to (at % 256).toFloat()
        if (input.raw) byte else (byte - input.mean[channel]) / input.std[channel]
    }
    private val numbers =
        FloatArray(if (input.type == NumberType.FLOAT32) buffer.limit() / Float.SIZE_BYTES else 0)

    /** The next call writes over it. */
    fun of(bytes: ByteArray): ByteBuffer {
        buffer.fromStart()
        if (input.type == NumberType.UINT8) {
            buffer.put(bytes)
        } else {
            if (input.channels == 3) normaliseColours(bytes) else normaliseGrey(bytes)
            buffer.asFloatBuffer().put(numbers)
        }
        buffer.fromStart()
        return buffer
    }

    private fun normaliseGrey(bytes: ByteArray) {
        for (at in numbers.indices) numbers[at] = table[bytes[at].toInt() and 0xff]
    }

    private fun normaliseColours(bytes: ByteArray) {
        val first = if (input.reversed) 2 else 0
        val last = 2 - first
        for (at in 0 until numbers.size - 2 step 3) {
            numbers[at] = table[bytes[at + first].toInt() and 0xff]
            numbers[at + 1] = table[256 + (bytes[at + 1].toInt() and 0xff)]
            numbers[at + 2] = table[512 + (bytes[at + last].toInt() and 0xff)]
        }
    }
}
