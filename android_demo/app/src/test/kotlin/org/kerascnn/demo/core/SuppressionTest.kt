package org.kerascnn.demo.core

import kotlin.math.ln
import org.json.JSONObject
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Test

class SuppressionTest {
    private fun spec(decoding: JSONObject): DetectorSpec {
        val file = Files.model {
            put("task", "detection")
            put("decoding", decoding.put("kind", "codes"))
        }
        return (ModelDescription.read(file).decoding as Decoding.Codes).detector
    }

    @Test
    fun `anchors are Python's`() = Golden.each("anchors") { case ->
        val decoding = JSONObject(
            """{"box_scales": [1, 1, 1, 1], "background": false, "score_threshold": 0.5,
                "iou_threshold": 0.5, "max_detections": 1, "candidates": 1}""",
        )
        val levels = spec(decoding.put("anchors", case.getJSONObject("anchors"))).levels
        assertArrayEquals(case.coded("wanted").floats(), anchorBoxes(levels), 1e-6f)
    }

    /** Four anchors: the quarters of the input. */
    private fun quarters(most: Int): Suppression {
        val levels = """[{"rows": 2, "columns": 2, "sizes": [[0.5, 0.5]]}]"""
        val decoding = JSONObject(
            """{"box_scales": [1, 1, 1, 1], "background": false, "score_threshold": 0.1,
                "iou_threshold": 0.5, "max_detections": $most, "candidates": 100,
                "anchors": {"levels": $levels}}""",
        )
        return Suppression(spec(decoding), classes = 2)
    }

    @Test
    fun `equal scores go by label, then by anchor`() {
        val found = quarters(6).select(FloatArray(16), FloatArray(8) { 0.5f })
        assertEquals(listOf(0, 0, 0, 0, 1, 1), found.map { it.label })
        val anchors = listOf(0f to 0f, 0f to 0.5f, 0.5f to 0f, 0.5f to 0.5f)
        assertEquals(anchors + anchors.take(2), found.map { it.box[0] to it.box[1] })
    }

    @Test
    fun `boxes are clipped after suppression, which compares whole ones`() {
        val codes = FloatArray(16)
        // Two with an IoU of 1/3, of which the same is left: both stay.
        codes[0] = -1f
        codes[2] = ln(3f)
        codes[5] = -1f
        codes[9] = -9f // outside of the picture
        codes[14] = 9f
        codes[15] = 9f
        val scores = floatArrayOf(0.9f, 0f, 0.8f, 0f, 0.7f, 0f, 0.6f, 0f)
        val boxes = quarters(10).select(codes, scores).flatMap { it.box.toList() }
        val quarter = listOf(0f, 0f, 0.5f, 0.5f)
        val wanted = quarter + quarter + listOf(0.5f, 0f, 1f, 0f) + listOf(0f, 0f, 1f, 1f)
        assertArrayEquals(wanted.toFloatArray(), boxes.toFloatArray(), 1e-6f)
    }

    @Test
    fun `the same objects stay as in Python, equal scores in the same order`() =
        Golden.each("selections") { case ->
            val spec = spec(case.getJSONObject("spec"))
            val suppression = Suppression(spec, case.getInt("classes"))
            val codes = case.coded("codes").floats()
            val found = suppression.select(codes, case.coded("scores").floats())
            val wanted = case.getJSONObject("wanted")
            assertEquals(wanted.coded("labels").ints(), found.map { it.label })
            val scores = FloatArray(found.size) { found[it].score }
            // Powers differ in the last bit.
            val near = if (spec.softNmsSigma == null) 0f else 1e-6f
            assertArrayEquals(wanted.coded("scores").floats(), scores, near)
            val boxes = found.flatMap { it.box.toList() }.toFloatArray()
            assertArrayEquals(wanted.coded("boxes").floats(), boxes, Golden.EXACT)
        }
}
