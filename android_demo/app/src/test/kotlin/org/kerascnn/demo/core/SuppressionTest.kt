package org.kerascnn.demo.core

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

    @Test
    fun `the same objects stay as in Python, equal scores in the same order`() =
        Golden.each("selections") { case ->
            val suppression = Suppression(spec(case.getJSONObject("spec")), case.getInt("classes"))
            val codes = case.coded("codes").floats()
            val found = suppression.select(codes, case.coded("scores").floats())
            val wanted = case.getJSONObject("wanted")
            assertEquals(wanted.coded("labels").ints(), found.map { it.label })
            val scores = FloatArray(found.size) { found[it].score }
            assertArrayEquals(wanted.coded("scores").floats(), scores, 0f)
            val boxes = found.flatMap { it.box.toList() }.toFloatArray()
            assertArrayEquals(wanted.coded("boxes").floats(), boxes, Golden.EXACT)
        }
}
