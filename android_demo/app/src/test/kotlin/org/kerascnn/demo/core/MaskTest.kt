package org.kerascnn.demo.core

import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Test

class MaskTest {
    private fun box(top: Float, left: Float, bottom: Float, right: Float) =
        Detection(0, 1f, top, left, bottom, right)

    @Test
    fun `masks cover Python's pixels`() = Golden.each("masks") { case ->
        val mask = case.coded("mask").let { Mask(it.shape[0], it.floats()) }
        val (top, left, bottom, right) = case.getJSONArray("box").floats().toList()
        val (height, width) = case.getJSONArray("size").ints().toList()
        val pasted = mask.pasted(box(top, left, bottom, right), width, height)
        val made = List(width * height) {
            val (y, x) = it / width - pasted.top to it % width - pasted.left
            val inside = y in 0 until pasted.height && x in 0 until pasted.width
            if (inside && pasted.covered[y * pasted.width + x]) 1 else 0
        }
        assertEquals(case.coded("wanted").ints(), made)
    }

    @Test
    fun `masks come to other frames as in Python`() = Golden.each("reframed") { case ->
        val mask = case.coded("mask").let { Mask(it.shape[0], it.floats()) }
        val (box, frame) = listOf("box", "frame").map { case.getJSONArray(it).floats().toList() }
        val made = mask.reframed(box, frame)
        assertArrayEquals(case.coded("wanted").floats(), made.probabilities, 1e-6f)
    }

    @Test
    fun `boxes that are no numbers cover nothing, absurd ones no more than the picture`() {
        val mask = Mask(2, FloatArray(4) { 1f })
        assertEquals(0, mask.pasted(box(Float.NaN, 0f, 1f, 1f), 8, 8).covered.size)
        assertEquals(0, mask.pasted(box(2f, 2f, 3f, 3f), 8, 8).covered.size)
        val huge = mask.pasted(box(-1e30f, -1e30f, 1e30f, 1e30f), 8, 8)
        assertEquals(64, huge.covered.size)
    }
}
