package org.kerascnn.demo.core

import java.nio.ByteBuffer
import java.util.Random
import kotlin.math.abs
import kotlin.math.sin
import org.junit.Assert.assertEquals
import org.junit.Assert.assertSame
import org.junit.Assert.assertTrue
import org.junit.Test

class FrameSamplerTest {
    private fun plane(rowStride: Int, pixelStride: Int, vararg bytes: Int) = YuvFrame.Plane(
        ByteBuffer.wrap(ByteArray(bytes.size) { bytes[it].toByte() }), rowStride, pixelStride,
    )

    private fun spec(
        width: Int,
        height: Int,
        channels: Int = 3,
        resize: Resize = Resize.STRETCH,
        crop: Double = 0.875,
    ) = InputSpec(
        "image", height, width, channels, NumberType.UINT8, true, emptyList(), emptyList(),
        resize = resize, cropFraction = crop,
    )

    private fun bytes(prepared: Prepared): List<Int> =
        ByteArray(prepared.input.remaining()).also { prepared.input.duplicate().get(it) }
            .map { it.toInt() and 0xff }

    private fun colour(frame: YuvFrame, turn: Int = 0): List<Int> =
        bytes(FrameSampler(spec(1, 1)).sample(frame, turn))

    private fun one(y: Int, u: Int, v: Int) =
        colour(YuvFrame(0, 0, 1, 1, plane(1, 1, y), plane(1, 1, u), plane(1, 1, v)))

    @Test
    fun `colours are those of ITU-R 601 in full range`() {
        assertEquals(listOf(0x80, 0x80, 0x80), one(128, 128, 128))
        assertEquals(listOf(0, 0, 0), one(0, 128, 128))
        assertEquals(listOf(0xff, 0xff, 0xff), one(255, 128, 128))
        // JFIF: pure red is Y 76, Cb 85, Cr 255; R = 76 + 1.402 * 127 = 254.05,
        // G = 76 + 0.344 * 43 - 0.714 * 127 = 0.10, B = 76 - 1.772 * 43 = -0.20.
        assertEquals(listOf(0xfe, 0, 0), one(76, 85, 255))
        // Blue is Y 29, Cb 255, Cr 107: R = -0.44, G = 29 - 43.71 + 15.00 = 0.29, B = 254.04.
        assertEquals(listOf(0, 0, 0xfe), one(29, 255, 107))
        // Nothing overflows at the ends of what there is.
        for (y in listOf(0, 255)) for (u in listOf(0, 255)) for (v in listOf(0, 255)) {
            val frame = YuvFrame(0, 0, 1, 1, plane(1, 1, y), plane(1, 1, u), plane(1, 1, v))
            val pixel = LongWay.picture(frame).pixels[0]
            assertEquals(listOf(pixel shr 16, pixel shr 8 and 0xff, pixel and 0xff), colour(frame))
        }
    }

    @Test
    fun `strides, shared planes and a cut are followed, whichever way the frame is turned`() {
        // Four by two pixels of which the right half is taken; rows end with two bytes of nothing.
        val luma = plane(6, 1, 9, 9, 50, 60, 0, 0, 9, 9, 70, 80)
        // Blue and red take turns, as most phones have it; the buffers end with the last pixel.
        val grey = plane(4, 2, 0, 0, 128)
        val frame = YuvFrame(2, 0, 2, 2, luma, grey, grey)
        val turned = mapOf(
            0 to listOf(50, 60, 70, 80),
            90 to listOf(70, 50, 80, 60),
            180 to listOf(80, 70, 60, 50),
            270 to listOf(60, 80, 50, 70),
        )
        for ((turn, wanted) in turned) {
            val made = bytes(FrameSampler(spec(2, 2)).sample(frame, turn))
            assertEquals("$turn", wanted.flatMap { listOf(it, it, it) }, made)
            assertEquals("$turn", wanted, bytes(FrameSampler(spec(2, 2, channels = 1)).sample(frame, turn)))
        }
    }

    /**
     * A photo's likeness: soft colours under sharp edges and noise, all of which red, green and blue of
     * a byte can tell. Blue and red take turns.
     */
    private fun frame(width: Int, height: Int, colourful: Boolean): YuvFrame {
        val random = Random(5)
        val luma = ByteArray(width * height) { at ->
            val (y, x) = at / width to at % width
            val edge = if ((x / 37 + y / 23) % 2 == 0) 40 else -20
            (120 + edge + 20 * sin(x / 9.0) + random.nextInt(16)).toInt().toByte()
        }
        val (wide, high) = (width + 1) / 2 to (height + 1) / 2
        val colours = ByteArray(2 * wide * high) { at ->
            val (y, x) = at / (2 * wide) to at % (2 * wide) / 2
            val change = if (at % 2 == 0) sin(x / 31.0) else sin((x + 2 * y) / 47.0)
            (128 + if (colourful) (30 * change).toInt() else 0).toByte()
        }
        val blue = YuvFrame.Plane(ByteBuffer.wrap(colours), 2 * wide, 2)
        val red = YuvFrame.Plane(ByteBuffer.wrap(colours, 1, colours.size - 1).slice(), 2 * wide, 2)
        return YuvFrame(0, 0, width, height, YuvFrame.Plane(ByteBuffer.wrap(luma), width, 1), blue, red)
    }

    private val inputs = listOf(
        spec(96, 96),
        spec(61, 40, resize = Resize.CROP, crop = 0.875),
        spec(64, 64, resize = Resize.CROP, crop = 1.0),
        spec(400, 352, resize = Resize.PAD),
        spec(50, 50, resize = Resize.PAD),
        spec(96, 72, resize = Resize.LETTERBOX),
        spec(400, 400, resize = Resize.LETTERBOX),
        spec(28, 28, channels = 1),
        spec(300, 500),
        spec(96, 80).copy(interpolation = Interpolation.BICUBIC),
        spec(96, 80, resize = Resize.CENTRE).copy(interpolation = Interpolation.BICUBIC),
    )

    @Test
    fun `a frame is seen as the picture of it would be`() {
        for (input in inputs) for ((width, height) in listOf(320 to 240, 161 to 122)) for (colourful in listOf(false, true)) {
            val frame = frame(width, height, colourful)
            val sampler = FrameSampler(input)
            for (turn in listOf(0, 90, 180, 270)) {
                val made = sampler.sample(frame, turn)
                val picture = LongWay.picture(frame).turned(turn)
                val wanted = Preprocessor(input).prepare(picture)
                val name = "$input, $width x $height, $turn"
                assertEquals(name, wanted.placement, made.placement)
                val apart = bytes(made).zip(bytes(wanted)).map { (one, other) -> abs(one - other) }
                // Pillow rounds to bytes between rows and columns; colours of four pixels are not
                // spread over them by steps here.
                val most = if (colourful && input.channels == 3) 6 else 1
                assertTrue("$name: ${apart.max()}", apart.max() <= most)
                assertTrue("$name: ${apart.average()}", apart.average() < 0.6)
            }
        }
    }

    @Test
    fun `memory is used again, and nothing of an earlier frame is left in it`() {
        val sampler = FrameSampler(spec(64, 64, resize = Resize.PAD))
        val large = sampler.sample(frame(60, 60, true), 0)
        val small = sampler.sample(frame(20, 10, true), 90)
        assertSame(large.input, small.input)
        val alone = FrameSampler(spec(64, 64, resize = Resize.PAD)).sample(frame(20, 10, true), 90)
        assertEquals(bytes(alone), bytes(small))
    }
}
