package org.kerascnn.demo.ui

import org.junit.Assert.assertEquals
import org.junit.Test
import org.kerascnn.demo.core.Picture

class UprightTest {
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
        // The whole of what phones' 12 and 16 megapixels are.
        for ((width, height) in listOf(4032 to 3024, 4080 to 3072, 4624 to 3468)) {
            assertEquals(1, Pictures.sample(width, height))
        }
        assertEquals(2, Pictures.sample(4097, 4096))
        assertEquals(4, Pictures.sample(12000, 9000))
    }
}
