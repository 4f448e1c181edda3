package org.kerascnn.demo.ui

import java.nio.ByteBuffer
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Test
import org.kerascnn.demo.core.Picture

class FramesTest {
    private fun plane(rowStride: Int, pixelStride: Int, vararg bytes: Int) =
        Frames.Plane(ByteBuffer.wrap(ByteArray(bytes.size) { bytes[it].toByte() }), rowStride, pixelStride)

    private fun one(y: Int, u: Int, v: Int): Int =
        Frames.picture(0, 0, 1, 1, plane(1, 1, y), plane(1, 1, u), plane(1, 1, v)).pixels[0]

    @Test
    fun `colours are those of ITU-R 601 in full range`() {
        assertEquals(0x808080, one(128, 128, 128))
        assertEquals(0x000000, one(0, 128, 128))
        assertEquals(0xffffff, one(255, 128, 128))
        // JFIF: pure red is Y 76, Cb 85, Cr 255; R = 76 + 1.402 * 127 = 254.05,
        // G = 76 + 0.344 * 43 - 0.714 * 127 = 0.10, B = 76 - 1.772 * 43 = -0.20.
        assertEquals(0xfe0000, one(76, 85, 255))
        // Blue is Y 29, Cb 255, Cr 107: R = -0.44, G = 29 - 43.71 + 15.00 = 0.29, B = 254.04.
        assertEquals(0x0000fe, one(29, 255, 107))
    }

    @Test
    fun `strides, shared planes and a cut are followed`() {
        // Four by two pixels of which the right half is taken; rows end with two bytes of nothing.
        val luma = plane(6, 1, 9, 9, 50, 60, 0, 0, 9, 9, 70, 80)
        // Blue and red take turns, as most phones have it; the buffers end with the last pixel.
        val blue = plane(4, 2, 0, 0, 128)
        val red = plane(4, 2, 0, 0, 128)
        val picture = Frames.picture(2, 0, 2, 2, luma, blue, red)
        assertArrayEquals(intArrayOf(0x323232, 0x3c3c3c, 0x464646, 0x505050), picture.pixels)
    }

    @Test
    fun `every EXIF orientation is undone`() {
        // What is upright:   1 2 3
        //                    4 5 6
        val upright = listOf(1, 2, 3, 4, 5, 6)
        val stored = mapOf(
            1 to (3 to listOf(1, 2, 3, 4, 5, 6)),
            2 to (3 to listOf(3, 2, 1, 6, 5, 4)), // left and right changed
            3 to (3 to listOf(6, 5, 4, 3, 2, 1)), // upside down
            4 to (3 to listOf(4, 5, 6, 1, 2, 3)), // top and bottom changed
            5 to (2 to listOf(1, 4, 2, 5, 3, 6)), // rows as columns
            6 to (2 to listOf(3, 6, 2, 5, 1, 4)), // the top row is the visual right side
            7 to (2 to listOf(6, 3, 5, 2, 4, 1)), // columns from below, from the right
            8 to (2 to listOf(4, 1, 5, 2, 6, 3)), // the top row is the visual left side
        )
        for ((orientation, how) in stored) {
            val (width, pixels) = how
            val picture = Picture(width, 6 / width, pixels.toIntArray())
            val turned = Pictures.upright(picture, orientation)
            assertEquals("orientation $orientation", 3, turned.width)
            assertEquals("orientation $orientation", upright, turned.pixels.toList())
        }
    }

    @Test
    fun `large pictures are read smaller`() {
        assertEquals(1, Pictures.sample(4000, 3000))
        assertEquals(2, Pictures.sample(4001, 3000))
        assertEquals(4, Pictures.sample(12000, 9000))
    }
}
