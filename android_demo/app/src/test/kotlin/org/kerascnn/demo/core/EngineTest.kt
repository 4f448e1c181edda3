package org.kerascnn.demo.core

import java.nio.ByteBuffer
import org.json.JSONArray
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.kerascnn.demo.core.ModelProblem.Kind

class EngineTest {
    /** Of a class for each channel: the sum of its numbers. */
    private class Sums(private val classes: Int) : Network {
        override var lastNanos = 0L
        var closed = false

        override fun run(input: ByteBuffer): Map<String, Output> {
            lastNanos += 1000
            val numbers = FloatArray(input.remaining() / 4).also { input.asFloatBuffer().get(it) }
            val sums = FloatArray(classes)
            for ((at, number) in numbers.withIndex()) sums[at % classes] += number
            return mapOf("logits" to Output(intArrayOf(1, classes), sums))
        }

        override fun close() {
            closed = true
        }
    }

    @Test
    fun `a picture goes in and its answer comes out`() {
        val network = Sums(3)
        val engine = Engine.opened(ModelDescription.read(Files.model()), network)
        engine.use {
            val green = it.answer(Picture(9, 9, IntArray(81) { 0x00ff00 })) as Answer.Labels
            assertEquals(1, green.top.first().label)
            assertEquals(1f, green.top.first().score, 1e-6f)
            val blue = it.answer(Picture(1, 1, intArrayOf(0x0000ff))) as Answer.Labels
            assertEquals(2, blue.top.first().label)
            assertEquals(2000L, it.lastNanos)
        }
        assertTrue(network.closed)
    }

    @Test
    fun `a network that gives something else is told`() {
        val file = Files.model { put("labels", JSONArray(listOf("a", "b"))) }
        val engine = Engine.opened(ModelDescription.read(file), Sums(3))
        assertRefused(Kind.BROKEN, "logits") { engine.answer(Picture(1, 1, IntArray(1))) }
    }

    @Test
    fun `without the runtime's native part there is a problem, and no crash`() {
        for (accelerator in Accelerator.entries) {
            assertRefused(Kind.RUNTIME) { Engine(Files.model(), 2, accelerator).close() }
        }
        assertRefused(Kind.NO_METADATA) {
            val bare = ByteBuffer.wrap("....TFL3 and nothing".toByteArray())
            Engine(bare, 1, Accelerator.CPU).close()
        }
    }

    @Test
    fun `the runtime's words tell the kind of problem`() {
        fun assertTold(kind: Kind, detail: String, words: String?) {
            val problem = RuntimeWords.problem(IllegalArgumentException(words))
            assertEquals(kind to detail, problem.kind to problem.detail)
        }
        assertTold(
            Kind.UNSUPPORTED_OP,
            "CONV_2D 9",
            "Internal error: Cannot create interpreter: Didn't find op for builtin opcode " +
                "'CONV_2D' version '9'. An older version of this builtin might be supported.\n" +
                "Registration failed.\n",
        )
        assertTold(
            Kind.UNSUPPORTED_OP,
            "Mine",
            "Internal error: Cannot create interpreter: Encountered unresolved custom op: Mine.\n" +
                "See instructions: https://www.tensorflow.org/lite/guide/ops_custom",
        )
        assertTold(
            Kind.UNSUPPORTED_OP,
            "TRANSPOSE_CONV",
            "Internal error: Unexpected failure when preparing tensor allocations: " +
                "tensorflow/lite/kernels/transpose_conv.cc:312 weights->type != input->type " +
                "(INT8 != FLOAT32)\nNode number 982 (TRANSPOSE_CONV) failed to prepare.",
        )
        val delegate = "Internal error: Node number 9 (TfLiteGpuDelegateV2) failed to prepare."
        assertTold(Kind.RUNTIME, delegate, delegate)
        assertTold(
            Kind.BROKEN,
            "ByteBuffer is not a valid TensorFlow Lite model flatbuffer",
            "ByteBuffer is not a valid TensorFlow Lite model flatbuffer",
        )
        // LiteRT's own, where the file is cut off behind what is verified, or of another schema.
        for (words in listOf(
            "ByteBuffer does not encode a valid model: The model is cut off",
            "Contents of x.tflite does not encode a valid TensorFlow Lite model: no",
            "Internal error: Cannot create interpreter: Model provided is schema version 9 not equal " +
                "to supported version 3.",
        )) assertTold(Kind.BROKEN, words, words)
        assertTold(
            Kind.UNSUPPORTED_OP,
            "STABLEHLO_CASE 1",
            "Internal error: Cannot create interpreter: Didn't find op for builtin opcode " +
                "'STABLEHLO_CASE' version '1'. An older version of this builtin might be supported. " +
                "Are you using an old TFLite binary with a newer model?\n",
        )
        assertTold(Kind.UNSUPPORTED_OP, "300", "Op builtin_code out of range: 300. Are you using old TFLite binary")
        val refusal = "Internal error: Failed to apply delegate"
        assertTold(Kind.RUNTIME, refusal, "$refusal\nmore")
        assertTold(Kind.RUNTIME, "IllegalArgumentException", null)
    }
}
