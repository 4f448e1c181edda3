package org.kerascnn.demo.core

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertSame
import org.junit.Assert.assertThrows
import org.junit.Test

class PictureTest {
    // 1 2 3
    // 4 5 6
    private val picture = Picture(3, 2, intArrayOf(1, 2, 3, 4, 5, 6))

    @Test
    fun `pictures turn clockwise`() {
        assertSame(picture, picture.turned(0))
        assertTurned(90, 2, 4, 1, 5, 2, 6, 3)
        assertTurned(180, 3, 6, 5, 4, 3, 2, 1)
        assertTurned(270, 2, 3, 6, 2, 5, 1, 4)
        assertTurned(-90, 2, 3, 6, 2, 5, 1, 4)
    }

    private fun assertTurned(degrees: Int, width: Int, vararg pixels: Int) {
        val turned = picture.turned(degrees)
        assertEquals(width, turned.width)
        assertEquals(6 / width, turned.height)
        assertArrayEquals(pixels, turned.pixels)
    }

    @Test
    fun `other angles and other counts of pixels are mistakes`() {
        assertThrows(IllegalArgumentException::class.java) { picture.turned(45) }
        assertThrows(IllegalArgumentException::class.java) { Picture(2, 2, IntArray(5)) }
        assertThrows(IllegalArgumentException::class.java) { Picture(0, 0, IntArray(0)) }
    }
}
