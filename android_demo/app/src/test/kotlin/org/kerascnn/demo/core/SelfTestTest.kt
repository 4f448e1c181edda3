package org.kerascnn.demo.core

import java.nio.ByteBuffer
import java.util.zip.CRC32
import kotlin.math.abs
import org.json.JSONArray
import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertFalse
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertNull
import org.junit.Assert.assertTrue
import org.junit.Test

class SelfTestTest {
    private val golden = Golden.one("selftests")

    private fun JSONArray.each(): List<JSONObject> = List(length()) { getJSONObject(it) }

    private fun read(text: String): SelfTest? {
        val told = Files.model().let { file -> String(checkNotNull(StoredZip.entry(file, "kerascnn.json"))) }
        val end = told.trimEnd().lastIndexOf('}')
        val json = told.take(end) + ", \"selftest\": $text}"
        return ModelDescription.read(Files.around(json.toByteArray())).selfTest
    }

    @Test
    fun `the image has Python's bytes`() {
        for (one in golden.getJSONArray("images").each()) {
            val (height, width, channels) = one.getJSONArray("shape").ints().toList()
            val crc = CRC32().apply { update(TestImage.bytes(height, width, channels)) }.value
            assertEquals("$height x $width x $channels", one.getLong("crc"), crc)
        }
    }

    @Test
    fun `differences are Python's`() {
        for ((at, one) in golden.getJSONArray("comparisons").each().withIndex()) {
            val test = checkNotNull(read(one.getJSONObject("selftest").toString()))
            val told = one.getJSONObject("outputs")
            val outputs = told.keySet().associateWith { told.coded(it).output() }
            val found = test.compare(outputs, one.getBoolean("half"))
            val wanted =
                if (one.isNull("difference")) Double.POSITIVE_INFINITY else one.getDouble("difference")
            val same = found.difference == wanted || abs(found.difference - wanted) < 1e-9
            assertTrue("case $at: ${found.difference} and not $wanted", same)
            assertEquals(wanted <= found.tolerance, found.verified)
        }
    }

    @Test
    fun `what is hostile is refused by its field`() {
        for (told in golden.getJSONArray("fine").each()) {
            assertEquals(told.getInt("edition") == 1, read(told.toString()) != null)
        }
        assertNull(ModelDescription.read(Files.model()).selfTest)
        assertNull(read("null"))
        for (one in golden.getJSONArray("hostile").each()) {
            val text = one.getString("text")
            // Some parsers refuse what is beyond all numbers before anybody looks at the field.
            val field = one.getString("field").takeIf { "1e400" !in text }
            assertRefused(ModelProblem.Kind.BROKEN, field) { read(text) }
        }
    }

    /** Of a class a channel: the mean of its numbers. */
    private class Means(private val off: Float) : Network {
        override val lastNanos = 0L

        override fun run(input: ByteBuffer): Map<String, Output> {
            val numbers = FloatArray(input.remaining() / 4).also { input.asFloatBuffer().get(it) }
            val means = FloatArray(3) { c -> numbers.filterIndexed { at, _ -> at % 3 == c }.average().toFloat() }
            means[0] += off
            return mapOf("logits" to Output(intArrayOf(1, 3), means))
        }

        override fun close() = Unit
    }

    @Test
    fun `an engine holds its network against the file`() {
        val plain = ModelDescription.read(Files.model())
        assertNull(Engine.opened(plain, Means(0f)).selfTest())
        val image = Preprocessor(plain.input).ofBytes(TestImage.bytes(4, 6, 3))
        val values = Means(0f).run(image).getValue("logits").values.map(Float::toDouble)
        val span = values.maxOf { maxOf(it, 0.0) } - values.minOf { minOf(it, 0.0) }
        val digest = SelfTest.Digest("logits", 3, span, values.average(), listOf(0 to values[0]), values)
        val told = plain.copy(selfTest = SelfTest(0.001, 0.02, SelfTest.Numbers(listOf(digest))))
        val off = (0.01 * span).toFloat()
        val same = checkNotNull(Engine.opened(told, Means(0f)).selfTest())
        assertTrue("$same", same.verified)
        val other = Engine.opened(told, Means(off)).selfTest()
        assertNotNull(other)
        assertEquals(0.01, checkNotNull(other).difference, 1e-6)
        assertFalse(other.verified)
        // A GPU may compute in half precision.
        assertTrue(checkNotNull(Engine.opened(told, Means(off), inHalf = true).selfTest()).verified)
    }
}
