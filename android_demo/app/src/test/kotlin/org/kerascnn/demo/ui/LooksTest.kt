package org.kerascnn.demo.ui

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertTrue
import org.junit.Test
import org.kerascnn.demo.core.Detection
import org.kerascnn.demo.core.Mask

class LooksTest {
    private fun luminance(colour: Int): Double {
        val channels = listOf(16, 8, 0).map { (colour shr it and 0xff) / 255.0 }
        val (red, green, blue) = channels.map {
            if (it <= 0.03928) it / 12.92 else Math.pow((it + 0.055) / 1.055, 2.4)
        }
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    private fun contrast(one: Int, other: Int): Double {
        val (bright, dark) = listOf(luminance(one), luminance(other)).sortedDescending()
        return (bright + 0.05) / (dark + 0.05)
    }

    @Test
    fun `letters on every colour of a class can be read`() {
        for (colour in Palette.CLASS_COLOURS) {
            val letters = Palette.contrast(colour)
            // Of large bold letters WCAG 2 demands a contrast of 3.
            assertTrue(Integer.toHexString(colour), contrast(colour, letters) >= 3)
        }
    }

    @Test
    fun `the eighth class has the first colour again, in stripes`() {
        val looks = MapLooks(List(30) { "$it" }, null)
        assertEquals(Palette.CLASS_COLOURS[0], looks.of(7).colour)
        assertEquals(MapLooks.Pattern.SOLID, looks.of(6).pattern)
        assertEquals(MapLooks.Pattern.STRIPES, looks.of(7).pattern)
        assertEquals(MapLooks.Pattern.DOTS, looks.of(14).pattern)
        assertEquals(MapLooks.Pattern.SOLID, looks.of(21).pattern)
    }

    @Test
    fun `a background stays bare, and takes no colour`() {
        val looks = MapLooks(listOf("background", "cat"), null)
        assertTrue(looks.isBare(0))
        assertEquals(Palette.CLASS_COLOURS[0], looks.of(1).colour)
        assertFalse(MapLooks(listOf("sky", "cat"), null).isBare(0))
    }

    @Test
    fun `the data's own colours come first`() {
        val looks = MapLooks(listOf("a", "b"), intArrayOf(0xff010203.toInt(), 0xff040506.toInt()))
        assertEquals(0xff040506.toInt(), looks.of(1).colour)
        assertEquals(MapLooks.Pattern.STRIPES, looks.of(255).pattern)
    }

    @Test
    fun `an overlay has full lines where classes meet, and a tint elsewhere`() {
        val classes = byteArrayOf(0, 0, 1, 1, 1, 1)
        val made = MapLooks(listOf("background", "cat"), null).overlay(classes, 6, 1)
        val colour = Palette.CLASS_COLOURS[0] and 0xffffff
        val tint = 166 shl 24 or colour // 0.65 of 255
        val full = 0xff shl 24 or colour
        assertArrayEquals(intArrayOf(0, 0, full, tint, tint, tint), made)
    }

    @Test
    fun `a mask has a dark edge, a line and a tint`() {
        // Five rows and columns in the middle of nine are sure, however a cell is interpolated.
        val mask = Mask(1, floatArrayOf(1f))
        val found = Detection(2, 0.9f, 2f / 9, 2f / 9, 7f / 9, 7f / 9, mask)
        val made = MaskLooks().overlay(listOf(found), 9, 9)
        val pasted = mask.pasted(found, 9, 9)
        val colour = Palette.CLASS_COLOURS[2]
        assertTrue(pasted.covered.count { it } > 9)
        for (y in 0 until 9) {
            for (x in 0 until 9) {
                val (row, column) = y - pasted.top to x - pasted.left
                fun covers(y: Int, x: Int) = y in 0 until pasted.height &&
                    x in 0 until pasted.width && pasted.covered[y * pasted.width + x]
                val around = listOf(row - 1 to column, row + 1 to column, row to column - 1, row to column + 1)
                    .map { (y, x) -> covers(y, x) }
                val expected = when {
                    covers(row, column) && around.all { it } -> 115 shl 24 or (colour and 0xffffff)
                    covers(row, column) -> colour
                    around.any { it } -> Palette.INK
                    else -> 0
                }
                assertEquals("$y, $x", expected, made[y * 9 + x])
            }
        }
    }

    @Test
    fun `the better of two masks lies on top`() {
        fun found(label: Int) = Detection(label, 1f, 0f, 0f, 1f, 1f, Mask(2, FloatArray(4) { 1f }))
        val made = MaskLooks().overlay(listOf(found(1), found(0)), 20, 20)
        assertEquals(Palette.CLASS_COLOURS[1] and 0xffffff, made[10 * 20 + 10] and 0xffffff)
    }
}
