package org.kerascnn.demo.core

import org.json.JSONObject
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test

class DecoderTest {
    private class Case(told: JSONObject) {
        val description =
            ModelDescription.read(Files.around(told.getJSONObject("description")))
        val outputs = told.getJSONObject("outputs").let { all ->
            all.keys().asSequence().associateWith { all.coded(it).output() }
        }
        val height = told.getJSONArray("size").getInt(0)
        val width = told.getJSONArray("size").getInt(1)
        val wanted: JSONObject = told.getJSONObject("wanted")

        fun answer(given: Map<String, Output> = outputs): Answer {
            val placement = Preprocessor(description.input).placement(width, height)
            return Decoder(description).decode(given, placement)
        }

        fun with(name: String, vararg values: Float) =
            outputs + (name to Output(intArrayOf(1, values.size), values))
    }

    private fun cases(kind: String): List<Case> {
        val found = mutableListOf<Case>()
        Golden.each("answers") { told ->
            val decoding = told.getJSONObject("description").getJSONObject("decoding")
            if (decoding.getString("kind") == kind) found += Case(told)
        }
        check(found.isNotEmpty()) { "no cases of $kind" }
        return found
    }

    @Test
    fun `softmax is Python's`() = Golden.each("softmax") { case ->
        val made = Decoder.softmax(case.getJSONArray("logits").floats())
        val wanted = case.getJSONArray("wanted")
        assertArrayEquals(DoubleArray(wanted.length()) { wanted.getDouble(it) }, made, 1e-7)
    }

    @Test
    fun `labels and probabilities are Python's, equal ones in the same order`() {
        for (case in cases("logits")) {
            val top = (case.answer() as Answer.Labels).top
            assertEquals(case.wanted.getJSONArray("labels").ints().toList(), top.map { it.label })
            val scores = FloatArray(top.size) { top[it].score }
            assertArrayEquals(case.wanted.getJSONArray("scores").floats(), scores, Golden.EXACT)
        }
    }

    /** The case's description with another decoding, whose output has these numbers. */
    private fun inside(task: String, decoding: String, name: String, vararg numbers: Float): Answer {
        val file = Files.model {
            put("task", task)
            put("decoding", JSONObject(decoding))
        }
        val description = ModelDescription.read(file)
        val output = Output(intArrayOf(1, numbers.size), numbers)
        return Decoder(description).decode(mapOf(name to output), Preprocessor(description.input).placement(5, 5))
    }

    @Test
    fun `probabilities and scores of a file are answers as they are`() {
        val kind = """{"kind": "probabilities"}"""
        val labels = inside("classification", kind, "probabilities", 0.125f, 0.75f, 0.125f) as Answer.Labels
        assertEquals(listOf(Scored(1, 0.75f), Scored(0, 0.125f), Scored(2, 0.125f)), labels.top)
        val scores = """{"kind": "scores", "threshold": 0.5}"""
        val some = inside("multilabel", scores, "scores", 0.5f, 0.25f, 0.75f) as Answer.Labels
        assertEquals(listOf(Scored(2, 0.75f), Scored(0, 0.5f)), some.top)
        assertRefused(ModelProblem.Kind.BROKEN, "probabilities") {
            inside("classification", kind, "logits", 1f, 2f, 3f)
        }
        assertRefused(ModelProblem.Kind.BROKEN, "decoding.kind") {
            inside("classification", scores, "scores", 1f, 2f, 3f)
        }
        assertRefused(ModelProblem.Kind.BROKEN, "decoding.threshold") {
            inside("multilabel", """{"kind": "scores"}""", "scores", 1f, 2f, 3f)
        }
    }

    @Test
    fun `labels from the threshold on are Python's, perhaps none`() {
        val counts = cases("sigmoid").map { case ->
            val found = (case.answer() as Answer.Labels).top
            assertEquals(case.wanted.getJSONArray("labels").ints().toList(), found.map { it.label })
            val scores = FloatArray(found.size) { found[it].score }
            assertArrayEquals(case.wanted.getJSONArray("scores").floats(), scores, Golden.EXACT)
            found.size
        }
        assertEquals(0, counts.min())
        assertTrue(counts.max() > 5)
    }

    @Test
    fun `objects of files with post-processing inside are Python's, masks too`() {
        val masks = cases("detections").count { case ->
            assertBoxes(case)
            assertMasks(case)
        }
        assertEquals(3, masks)
    }

    @Test
    fun `objects of codes are Python's`() = cases("codes").forEach(::assertBoxes)

    private fun assertBoxes(case: Case) {
        val found = (case.answer() as Answer.Boxes).found
        assertEquals(case.wanted.getJSONArray("labels").ints().toList(), found.map { it.label })
        val scores = FloatArray(found.size) { found[it].score }
        assertArrayEquals(case.wanted.getJSONArray("scores").floats(), scores, Golden.EXACT)
        for ((wanted, one) in case.wanted.getJSONArray("boxes").rows().zip(found)) {
            val box = floatArrayOf(one.top, one.left, one.bottom, one.right)
            assertArrayEquals(wanted, box, Golden.EXACT)
        }
    }

    /** Whether there are masks. */
    private fun assertMasks(case: Case): Boolean {
        val found = (case.answer() as Answer.Boxes).found
        if (!case.wanted.has("covered")) {
            for (one in found) assertNull(one.mask)
            return false
        }
        val made = found.flatMap { whole(it.mask!!.pasted(it, case.width, case.height), case) }
        assertEquals(case.wanted.coded("covered").ints(), made)
        return true
    }

    private fun whole(pasted: MaskPaster, case: Case): List<Int> = List(case.width * case.height) {
        val (y, x) = it / case.width - pasted.top to it % case.width - pasted.left
        val inside = y in 0 until pasted.height && x in 0 until pasted.width
        if (inside && pasted.covered[y * pasted.width + x]) 1 else 0
    }

    @Test
    fun `maps are Python's`() {
        for (case in cases("map") + cases("map_logits")) {
            val answer = case.answer() as Answer.ClassMap
            assertEquals(case.width to case.height, answer.width to answer.height)
            assertArrayEquals(case.wanted.coded("map").bytes(), answer.classes)
        }
    }

    @Test
    fun `boxes come from the input to the picture`() = Golden.each("boxes") { case ->
        val input = case.getJSONObject("input")
        val description = ModelDescription.read(
            Files.model {
                put("task", "detection")
                put("decoding", JSONObject("""{"kind": "detections"}"""))
                for (name in listOf("height", "width", "resize")) {
                    getJSONObject("input").put(name, input.get(name))
                }
            },
        )
        val (height, width) = case.getJSONArray("size").ints().toList()
        val placement = Preprocessor(description.input).placement(width, height)
        val wanted = case.getJSONArray("wanted").rows()
        for ((box, there) in case.getJSONArray("boxes").rows().zip(wanted)) {
            val made = Decoder(description).onPicture(box, placement).toFloatArray()
            assertArrayEquals(there, made, Golden.EXACT)
        }
    }

    @Test
    fun `what is no number is no object`() {
        val case = cases("detections").first()
        val boxes = case.outputs.getValue("boxes").values.copyOf().also { it[1] = Float.NaN }
        val found = (case.answer(case.with("boxes", *boxes)) as Answer.Boxes).found
        assertEquals(case.wanted.getJSONArray("labels").ints().drop(1), found.map { it.label })
        assertEquals(0, (case.answer(case.with("count", Float.NaN)) as Answer.Boxes).found.size)
        val all = case.answer(case.with("count", 1e9f)) as Answer.Boxes
        assertEquals(4, all.found.size)
        val padded = case.answer(case.with("labels", -1f, 0f, 6f, 1f)) as Answer.Boxes
        assertEquals(listOf(0, 6), padded.found.map { it.label })
    }

    @Test
    fun `outputs that are not what the file says are told`() {
        fun refused(kind: String, output: String, change: (Case) -> Map<String, Output>) {
            val case = cases(kind).first()
            assertRefused(ModelProblem.Kind.BROKEN, output) { case.answer(change(case)) }
        }
        refused("logits", "logits") { emptyMap() }
        refused("logits", "logits") { it.with("logits", 1f, 2f) }
        refused("logits", "logits") { it.with("logits", 1f, 2f, 3f, 4f, 5f, 6f, Float.NaN) }
        refused("sigmoid", "logits") { it.with("logits", 1f, 2f) }
        refused("sigmoid", "logits") { it.with("logits", 1f, 2f, 3f, 4f, 5f, 6f, Float.NaN) }
        refused("detections", "boxes") { it.with("boxes", 1f) }
        refused("detections", "labels") { it.with("labels", 7f, 0f, 0f, 0f) }
        refused("detections", "count") { it.outputs - "count" }
        refused("detections", "masks") { it.with("masks", 1f, 2f) }
        refused("codes", "scores") { it.with("scores", 1f) }
        refused("codes", "boxes") { case ->
            val count = case.outputs.getValue("boxes").values.size
            case.with("boxes", *FloatArray(count) { Float.NaN })
        }
        refused("map", "map") { it.with("map", 1f) }
        refused("map", "map") { case ->
            val map = case.outputs.getValue("map")
            mapOf("map" to Output(map.shape, FloatArray(map.values.size) { 5f }))
        }
        refused("map_logits", "logits") { mapOf("logits" to Output(intArrayOf(), floatArrayOf())) }
    }
}
