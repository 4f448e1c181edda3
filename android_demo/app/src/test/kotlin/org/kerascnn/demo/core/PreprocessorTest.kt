package org.kerascnn.demo.core

import org.json.JSONObject
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Test

class PreprocessorTest {
    private fun spec(told: JSONObject) = InputSpec(
        name = "image",
        height = told.getInt("height"),
        width = told.getInt("width"),
        channels = told.getInt("channels"),
        type = NumberType.UINT8,
        raw = true,
        mean = emptyList(),
        std = emptyList(),
        resize = Resize.valueOf(told.getString("resize").uppercase()),
        cropFraction = told.getDouble("crop_fraction"),
        interpolation = Interpolation.valueOf(
            told.optString("interpolation", "bilinear").uppercase(),
        ),
    )

    private val grey = InputSpec(
        "image", 2, 3, 1, NumberType.FLOAT32, false, listOf(100f), listOf(50f), resize = Resize.PAD,
    )

    @Test
    fun `every geometry is Python's to the last bit`() = Golden.each("fits") { case ->
        val preprocessor = Preprocessor(spec(case.getJSONObject("input")))
        val made = preprocessor.fitted(case.coded("picture").raster())
        assertArrayEquals(case.coded("wanted").bytes(), made.bytes)
    }

    @Test
    fun `bytes become Python's numbers`() = Golden.each("normalised") { case ->
        val description = case.getJSONObject("description")
        description.getJSONObject("input").put("resize", "stretch") // to the size that it has
        val file = Files.around(description)
        val coded = case.coded("bytes")
        val filled = Preprocessor(ModelDescription.read(file).input).prepare(coded.picture()).input
        val wanted = case.coded("wanted").floats()
        assertEquals(4 * wanted.size, filled.remaining())
        val numbers = FloatArray(wanted.size).also { filled.asFloatBuffer().get(it) }
        assertArrayEquals(wanted, numbers, Golden.EXACT)
    }

    @Test
    fun `grey is Pillow's`() {
        val case = Golden.one("luma")
        val made = Raster.of(case.coded("picture").picture(), 1)
        assertArrayEquals(case.coded("wanted").bytes(), made.bytes)
    }

    @Test
    fun `a uint8 input gets the bytes themselves, every time from the start`() {
        val input = InputSpec(
            "image", 1, 2, 3, NumberType.UINT8, true, emptyList(), emptyList(),
        )
        val preprocessor = Preprocessor(input)
        for (first in listOf(0x010203, 0x7fff80)) {
            val filled = preprocessor.prepare(Picture(2, 1, intArrayOf(first, 0xfffefd))).input
            val bytes = ByteArray(filled.remaining()).also { filled.duplicate().get(it) }
            val wanted = listOf(first shr 16, first shr 8, first, 0xff, 0xfe, 0xfd)
            assertEquals(wanted.map(Int::toByte), bytes.toList())
        }
    }

    @Test
    fun `what pads a picture is a black pixel, normalised`() {
        val filled = Preprocessor(grey).prepare(Picture(1, 1, intArrayOf(0xffffff))).input
        val numbers = FloatArray(6).also { filled.asFloatBuffer().get(it) }
        assertArrayEquals(floatArrayOf(-2f, 3.1f, -2f, -2f, -2f, -2f), numbers, 1e-6f)
    }

    @Test
    fun `placements are where pictures lie`() {
        val preprocessor = Preprocessor(grey)
        val small = Picture(1, 1, IntArray(1))
        assertEquals(Placement(1, 1, 1, 0, 1, 1), preprocessor.prepare(small).placement)
        val wide = Picture(4, 1, IntArray(4))
        assertEquals(Placement(4, 1, 0, 0, 3, 2), preprocessor.prepare(wide).placement)
    }
}
