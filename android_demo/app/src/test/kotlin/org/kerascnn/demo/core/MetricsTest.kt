package org.kerascnn.demo.core

import java.io.ByteArrayInputStream
import java.io.IOException
import java.util.Base64
import org.json.JSONArray
import org.json.JSONObject
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNull
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test

/** Against pycocotools and the figures of training; tests/android_metrics.py writes them. */
class MetricsTest {
    private fun each(kind: String, check: (JSONObject) -> Unit) {
        val text = checkNotNull(MetricsTest::class.java.getResource("/metrics.json")).readText()
        val cases = JSONObject(text).getJSONArray(kind)
        assertTrue(kind, cases.length() > 0)
        for (at in 0 until cases.length()) check(cases.getJSONObject(at))
    }

    private fun JSONArray.objects() = List(length(), ::getJSONObject)

    private fun JSONObject.box() = getJSONArray("bbox").let { sides -> DoubleArray(4, sides::getDouble) }

    private fun JSONObject.label() = getInt("category_id") - 10

    @Test
    fun `average precision is COCO's`() = each("average_precision") { case ->
        val data = case.getJSONObject("coco")
        val objects = data.getJSONArray("annotations").objects().groupBy { it.getInt("image_id") }
        val found = case.getJSONArray("found").objects().groupBy { it.getInt("image_id") }
        val ledger = AveragePrecision(case.getJSONArray("labels").length())
        for (image in data.getJSONArray("images").objects().map { it.getInt("id") }) {
            val there = objects[image].orEmpty().map { one ->
                val (x, y, width, height) = one.box()
                TrueBox(one.label(), x, y, width, height, one.getInt("iscrowd") == 1)
            }
            val boxes = found[image].orEmpty().map { one ->
                val (x, y, width, height) = one.box()
                FoundBox(one.label(), one.getDouble("score").toFloat(), x, y, width, height)
            }
            ledger.add(there, boxes)
        }
        assertEquals(case.getDouble("wanted"), checkNotNull(ledger.percent()), 1e-6)
    }

    @Test
    fun `average precision by hand`() {
        fun ledger(vararg boxes: FoundBox, crowd: Boolean = false) = AveragePrecision(1).apply {
            add(listOf(TrueBox(0, 0.0, 0.0, 10.0, 10.0, crowd)), boxes.toList())
        }
        val exact = FoundBox(0, 0.5f, 0.0, 0.0, 10.0, 10.0)
        val beside = FoundBox(0, 0.9f, 50.0, 0.0, 10.0, 10.0)
        // An overlap of 0.72: right at five of ten thresholds.
        val near = FoundBox(0, 0.9f, 0.0, 0.0, 10.0, 7.2)
        assertEquals(100.0, ledger(exact).percent()!!, 1e-9)
        assertEquals(50.0, ledger(beside, exact).percent()!!, 1e-9)
        assertEquals(50.0, ledger(near).percent()!!, 1e-9)
        assertEquals(0.0, ledger().percent()!!, 0.0)
        assertNull(ledger(exact, crowd = true).percent())
        assertNull(AveragePrecision(3).percent())
    }

    @Test
    fun `a hundred boxes of a picture count`() {
        val ledger = AveragePrecision(1)
        val wrong = List(100) { FoundBox(0, 0.9f, 50.0, 50.0, 1.0, 1.0) }
        val right = FoundBox(0, 0.1f, 0.0, 0.0, 10.0, 10.0)
        ledger.add(listOf(TrueBox(0, 0.0, 0.0, 10.0, 10.0)), wrong + right)
        assertEquals(0.0, ledger.percent()!!, 0.0)
    }

    private fun JSONArray.asBytes() = ByteArray(length()) { getInt(it).toByte() }

    @Test
    fun `mean intersection over union is that of training`() = each("miou") { case ->
        val ledger = MapOverlap(case.getInt("classes"))
        for (one in case.getJSONArray("cases").objects()) {
            val (width, height) = one.getInt("width") to one.getInt("height")
            val truth = ClassNumbers(width, height, one.getJSONArray("truth").asBytes())
            assertTrue(ledger.add(truth, Answer.ClassMap(width, height, one.getJSONArray("found").asBytes())))
        }
        assertEquals(case.getDouble("wanted"), checkNotNull(ledger.percent()), 1e-6)
    }

    @Test
    fun `maps of another size, or of other classes, do not count`() {
        val ledger = MapOverlap(2)
        val answer = Answer.ClassMap(2, 1, byteArrayOf(0, 1))
        assertFalse(ledger.add(ClassNumbers(1, 2, byteArrayOf(0, 1)), answer))
        assertFalse(ledger.add(ClassNumbers(2, 1, byteArrayOf(0, 2)), answer))
        assertNull(ledger.percent())
        assertTrue(ledger.add(ClassNumbers(2, 1, byteArrayOf(0, -1)), answer))
        assertEquals(100.0, ledger.percent()!!, 0.0)
    }

    @Test
    fun `masks are the numbers that training reads`() = each("masks") { case ->
        val file = Base64.getDecoder().decode(case.getString("file"))
        if (case.isNull("wanted")) {
            assertThrows(IOException::class.java) { MaskPng.read(ByteArrayInputStream(file)) }
            return@each
        }
        val found = MaskPng.read(ByteArrayInputStream(file))
        assertEquals(case.getInt("width") to case.getInt("height"), found.width to found.height)
        assertArrayEquals(case.getJSONArray("wanted").asBytes(), found.values)
        // Cut off anywhere, or with another byte in its header, it is broken and nothing worse.
        for (length in 0 until file.size - 13) {
            assertThrows(IOException::class.java) {
                MaskPng.read(ByteArrayInputStream(file, 0, length))
            }
        }
        for (at in 8 until 33) {
            val other = file.copyOf().also { it[at] = (it[at] + 97).toByte() }
            try {
                MaskPng.read(ByteArrayInputStream(other))
            } catch (_: IOException) {
                continue
            }
        }
    }

    private class Fake(override val description: ModelDescription, private val give: () -> Answer) : Answerer {
        override val lastNanos = 1L

        override fun answer(picture: Picture): Answer = give()

        override fun answer(prepared: Prepared): Answer = throw AssertionError("no frame is judged")

        override fun close() = Unit
    }

    private fun described(task: String, kind: String, labels: Int) = ModelDescription.read(
        Files.model {
            put("task", task)
            put("labels", JSONArray(List(labels) { "$it" }))
            put("decoding", JSONObject("""{"kind": "$kind"}"""))
        },
    )

    private val picture = Picture(20, 10, IntArray(200))

    @Test
    fun `boxes in shares are judged in pixels`() {
        val found = listOf(Detection(1, 0.9f, 0.5f, 0.25f, 1f, 0.75f))
        val engine = Fake(described("detection", "detections", 2)) { Answer.Boxes(found) }
        val there = listOf(TrueBox(1, 5.0, 5.0, 10.0, 5.0))
        val judged = Benchmark.averagePrecision(
            engine,
            listOf(BoxedPicture(there) { picture }, BoxedPicture(there) { null }),
            unknown = 3,
        )
        assertEquals(100.0, checkNotNull(judged.percent), 1e-9)
        assertEquals(Overlap("AP", judged.percent, 1, 1, 3), judged)
    }

    @Test
    fun `masks of black and white are two classes, as long as all are`() {
        val engine = Fake(described("segmentation", "map", 2)) {
            Answer.ClassMap(2, 1, byteArrayOf(0, 1))
        }
        fun masked(vararg values: Int?) = values.map { value ->
            MaskedPicture({ value?.let { ClassNumbers(2, 1, byteArrayOf(0, it.toByte())) } }) { picture }
        }
        // 255 is the second class: all is right.
        assertEquals(Overlap("mIoU", 100.0, 2, 0, 0), Benchmark.meanIou(engine, masked(255, 255)))
        // So it is beside masks of nothing but zeros; beside a mask with a one 255 does not count.
        // Class 0: two of three; class 1: one of two.
        val black = Benchmark.meanIou(engine, masked(255, 0, null))
        assertEquals(100 * (2 / 3.0 + 1 / 2.0) / 2, checkNotNull(black.percent), 1e-9)
        assertEquals(2 to 1, black.pictures to black.unreadable)
        // Class 0: three of four; class 1: two of three.
        val numbers = Benchmark.meanIou(engine, masked(1, 1, 0))
        assertEquals(100 * (3 / 4.0 + 2 / 3.0) / 2, checkNotNull(numbers.percent), 1e-9)
        // Class 0: one of one; class 1: one of one; a pixel does not count.
        assertEquals(100.0, checkNotNull(Benchmark.meanIou(engine, masked(255, 1)).percent), 1e-9)
    }

    @Test
    fun `other tasks are not judged so`() {
        val engine = Fake(described("classification", "logits", 3)) { Answer.Labels(emptyList()) }
        assertRefused(ModelProblem.Kind.BROKEN, "task") {
            Benchmark.averagePrecision(engine, listOf(BoxedPicture(emptyList()) { picture }))
        }
        assertRefused(ModelProblem.Kind.BROKEN, "task") {
            val mask = ClassNumbers(1, 1, byteArrayOf(0))
            Benchmark.meanIou(engine, listOf(MaskedPicture({ mask }) { picture }))
        }
    }
}
