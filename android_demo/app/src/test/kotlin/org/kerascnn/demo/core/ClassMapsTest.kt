package org.kerascnn.demo.core

import org.junit.Assert.assertArrayEquals
import org.junit.Test

class ClassMapsTest {
    @Test
    fun `maps lie on pictures as Python's do`() = Golden.each("maps") { case ->
        val told = case.getJSONObject("input")
        val input = InputSpec(
            "image", told.getInt("height"), told.getInt("width"), 3, NumberType.UINT8, true,
            emptyList(), emptyList(), resize = Resize.valueOf(told.getString("resize").uppercase()),
        )
        val (height, width) = case.getJSONArray("size").ints().toList()
        val map = case.coded("map")
        val placement = Preprocessor(input).placement(width, height)
        val maps = ClassMaps(input)
        repeat(2) {
            val made = maps.onPicture(map.bytes(), map.shape[1], map.shape[0], placement)
            assertArrayEquals(case.coded("wanted").bytes(), made.classes)
        }
    }
}
