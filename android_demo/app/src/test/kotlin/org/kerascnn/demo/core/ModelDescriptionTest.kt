package org.kerascnn.demo.core

import java.nio.ByteBuffer
import java.util.Base64
import java.util.Random
import org.json.JSONArray
import org.json.JSONObject
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.kerascnn.demo.core.ModelProblem.Kind

class ModelDescriptionTest {
    private fun golden(name: String) =
        ByteBuffer.wrap(Base64.getDecoder().decode(Golden.one("zips").getString(name)))

    @Test
    fun `files that Python wrote tell all`() {
        for (name in listOf("appended", "apart")) {
            val file = golden(name)
            val told = ModelDescription.read(file)
            assertEquals(Task.CLASSIFICATION, told.task)
            assertEquals(listOf("bär", "고양이"), told.labels)
            assertEquals("tiny", told.model)
            assertEquals("Apache-2.0", told.license)
            assertEquals(8 to 9, told.input.height to told.input.width)
            assertEquals(List(3) { 127f }, told.input.mean)
            assertEquals(Resize.CROP, told.input.resize)
            assertEquals(Decoding.Logits, told.decoding)
            assertEquals("the file is left as it is", 0, file.position())
        }
    }

    @Test
    fun `every field is read`() {
        val told = ModelDescription.read(
            Files.model {
                put("task", "segmentation")
                put("decoding", map("[[1, 2, 3], [0, 0, 0], [255, 255, 255]]"))
                put("author", "someone")
                getJSONObject("input").put("order", "bgr").put("resize", "pad")
                getJSONObject("input").put("std", JSONArray("[1, 2.5, 3]"))
            },
        )
        assertEquals("someone", told.author)
        assertTrue(told.input.reversed)
        assertEquals(listOf(1f, 2.5f, 3f), told.input.std)
        val output = OutputSpec("logits", "StatefulPartitionedCall:0", "logits")
        assertEquals(listOf(output), told.outputs)
        val palette = intArrayOf(0xff010203.toInt(), 0xff000000.toInt(), 0xffffffff.toInt())
        assertArrayEquals(palette, told.decoding.palette)
    }

    private fun map(palette: String) =
        JSONObject().put("kind", "map").put("palette", JSONArray(palette))

    @Test
    fun `other files are told apart`() {
        fun refused(kind: Kind, file: ByteBuffer, detail: String? = null) =
            assertRefused(kind, detail) { ModelDescription.read(file) }
        refused(Kind.NOT_A_MODEL, ByteBuffer.allocate(0))
        refused(Kind.NOT_A_MODEL, ByteBuffer.wrap("a text of some length".toByteArray()))
        refused(Kind.NO_METADATA, golden("bare"))
        refused(Kind.BROKEN, golden("compressed"), "zip")
        refused(Kind.NEWER_FORMAT, Files.model { put("format", 2) }, "2")
        refused(Kind.UNKNOWN_TASK, Files.model { put("task", "music") }, "music")
        val deep = "{\"a\":" + "[".repeat(200_000)
        for (json in listOf("{".toByteArray(), byteArrayOf(0x7b, -1, 0x7d), deep.toByteArray())) {
            refused(Kind.BROKEN, Files.around(json), "kerascnn.json")
        }
    }

    private fun refused(field: String, change: JSONObject.() -> Unit) =
        assertRefused(Kind.BROKEN, field) { ModelDescription.read(Files.model(change)) }

    @Test
    fun `nonsense is named`() {
        refused("format") { remove("format") }
        refused("task") { put("task", 3) }
        refused("labels") { put("labels", JSONArray()) }
        refused("labels") { put("labels", JSONArray(listOf("a", 2))) }
        refused("model") { put("model", 3) }
        refused("input") { put("input", "x") }
        refused("outputs") { put("outputs", "x") }
        refused("outputs[0].name") { getJSONArray("outputs").getJSONObject(0).remove("name") }
        refused("decoding.kind") { put("decoding", JSONObject("""{"kind": "map"}""")) }
        for (palette in listOf("[[1, 2, 3]]", "[[1, 2, 256], [0, 0, 0], [0, 0, 0]]", "[]")) {
            refused("decoding.palette") {
                put("task", "segmentation").put("decoding", map(palette))
            }
        }
    }

    @Test
    fun `nonsense of inputs is named`() {
        val values = mapOf(
            "height" to listOf(0, 5000, 1.5),
            "width" to listOf("4", -1),
            "channels" to listOf(2, 4),
            "type" to listOf("int8"),
            "values" to listOf("words"),
            "order" to listOf("gbr"),
            "resize" to listOf("twist"),
            "crop_fraction" to listOf(0, 1.01),
            "mean" to listOf("1", JSONArray("[1, 2]"), JSONArray("[1, 2, null]")),
            "std" to listOf(0, JSONArray("[1, 0, 1]"), JSONArray("[1, 1, 1e300]")),
        )
        for ((field, wrong) in values) {
            for (value in wrong) {
                refused("input.$field") { getJSONObject("input").put(field, value) }
            }
        }
        refused("input.values") { getJSONObject("input").put("type", "uint8") }
        refused("input.resize") {
            put("task", "segmentation").put("decoding", JSONObject("""{"kind": "map"}"""))
            getJSONObject("input").put("resize", "crop")
        }
    }

    @Test
    fun `nonsense of detectors is named`() {
        fun refused(field: String, change: JSONObject.() -> Unit) =
            this.refused(field) {
                put("task", "detection").put("decoding", JSONObject(CODES).apply(change))
            }
        refused("decoding.anchors") { remove("anchors") }
        refused("decoding.anchors.levels") { getJSONObject("anchors").put("levels", 1) }
        val level = "decoding.anchors.levels[0]."
        fun first(told: JSONObject) =
            told.getJSONObject("anchors").getJSONArray("levels").getJSONObject(0)
        refused("${level}rows") { first(this).put("rows", 0) }
        refused("${level}sizes") { first(this).put("sizes", JSONArray("[[1, 0]]")) }
        refused("${level}sizes") { first(this).put("sizes", JSONArray("[[1]]")) }
        refused("${level}offset") { first(this).put("offset", 2) }
        // Sixteen million anchors are not made.
        refused("decoding.anchors") { first(this).put("rows", 4096).put("columns", 4096) }
        refused("decoding.box_scales") { put("box_scales", JSONArray("[1, 1, 1]")) }
        refused("decoding.box_scales") { put("box_scales", JSONArray("[1, 1, 1, -1]")) }
        refused("decoding.background") { put("background", 1) }
        refused("decoding.score_threshold") { put("score_threshold", 0) }
        refused("decoding.iou_threshold") { put("iou_threshold", 1.01) }
        refused("decoding.max_detections") { put("max_detections", 0) }
        refused("decoding.candidates") { put("candidates", 1e12) }
        refused("decoding.suppression") { put("suppression", "softer") }
        refused("decoding.soft_nms_sigma") { put("soft_nms_sigma", 0) }
        refused("decoding.class_agnostic") { put("class_agnostic", 1) }
    }

    @Test
    fun `broken files are never more than a problem`() {
        val whole = golden("appended").array()
        val random = Random(1)
        for (length in listOf(8, 21, 22, 400, whole.size / 2) + (1..60).map { whole.size - it }) {
            readOrRefused(whole.copyOf(length))
        }
        // The zip's directory is at the end.
        for (round in 1..3000) {
            val broken = whole.clone()
            repeat(1 + round % 3) {
                val reach = if (round % 2 == 0) 250 else whole.size - 8
                broken[whole.size - 1 - random.nextInt(reach)] = random.nextInt(256).toByte()
            }
            readOrRefused(broken)
        }
    }

    private fun readOrRefused(bytes: ByteArray) {
        try {
            ModelDescription.read(ByteBuffer.wrap(bytes))
        } catch (_: ModelProblem) {
            // As it should be.
        }
    }

    private companion object {
        const val CODES = """
            {"kind": "codes",
             "anchors": {"levels": [{"rows": 2, "columns": 2, "sizes": [[0.1, 0.2]]}]},
             "box_scales": [10, 10, 5, 5], "background": true, "score_threshold": 0.05,
             "iou_threshold": 0.5, "max_detections": 100, "candidates": 5000}
        """
    }
}
