package org.kerascnn.demo.core

import org.junit.Assert.assertArrayEquals
import org.junit.Test

class ResamplingTest {
    @Test
    fun `resizing is Pillow's to the last bit`() = Golden.each("resizes") { case ->
        val (picture, wanted) = case.coded("picture").raster() to case.coded("wanted")
        val (height, width) = wanted.shape.toList()
        val filter = Interpolation.valueOf(case.getString("interpolation").uppercase())
        val made = if (case.isNull("box")) {
            Resampling.resized(picture, width, height, filter)
        } else {
            val (left, top, right, bottom) = case.getJSONArray("box").floats().toList()
            val box = Resampling.Box(left, top, right, bottom)
            Resampling.resized(picture, width, height, filter, box)
        }
        assertArrayEquals(wanted.bytes(), made.bytes)
    }

    @Test
    fun `the nearest pixel is the one under the middle`() {
        assertArrayEquals(intArrayOf(0, 0, 1, 1), Resampling.nearestPlaces(2, 4))
        assertArrayEquals(intArrayOf(1, 4), Resampling.nearestPlaces(6, 2))
        assertArrayEquals(intArrayOf(0, 1, 2), Resampling.nearestPlaces(3, 3))
    }
}
