package org.kerascnn.demo.ui

import java.nio.ByteBuffer
import java.util.Random
import org.junit.Assert.assertTrue
import org.junit.Test
import org.kerascnn.demo.core.Engine
import org.kerascnn.demo.core.FrameSampler
import org.kerascnn.demo.core.ModelDescription
import org.kerascnn.demo.core.Network
import org.kerascnn.demo.core.Output
import org.kerascnn.demo.core.YuvFrame

/**
 * What a frame of a camera costs besides the network: from its YUV to the network's numbers, from the
 * network's answers to what is drawn. Garbage is limited; the processor's times are printed, and no test
 * is about them:
 *
 *     mvn -f android_demo/pom.xml test -Dtest=FrameBenchmarkTest -Dkerascnn.frames=300 \
 *         -Done-test=true -Dsurefire.failIfNoSpecifiedTests=false
 */
class FrameBenchmarkTest {
    private val frames = System.getProperty("kerascnn.frames")?.toInt() ?: 5

    /** As of most phones: 640 x 480, blue and red taking turns, outside of the heap. */
    private val frame = run {
        val random = Random(1)
        fun memory(bytes: Int): ByteBuffer = ByteBuffer.allocateDirect(bytes).apply {
            for (at in 0 until bytes) put(at, random.nextInt(256).toByte())
        }
        val colours = memory(WIDTH * HEIGHT / 2)
        val red = colours.duplicate().apply { position(1) }.slice()
        YuvFrame(
            0, 0, WIDTH, HEIGHT,
            YuvFrame.Plane(memory(WIDTH * HEIGHT), WIDTH, 1),
            YuvFrame.Plane(colours, WIDTH, 2),
            YuvFrame.Plane(red, WIDTH, 2),
        )
    }

    private fun described(task: String, side: Int, labels: Int, resize: String): ModelDescription {
        val json = Samples.json(task = task, labels = List(labels) { "class $it" })
            .replace("\"height\": 32", "\"height\": $side").replace("\"width\": 48", "\"width\": $side")
            .replace("stretch", resize)
        return ModelDescription.read(ByteBuffer.wrap(Samples.model(json)))
    }

    /** Gives the same every time. */
    private class Still(private val outputs: Map<String, Output>) : Network {
        override val lastNanos = 0L

        override fun run(input: ByteBuffer) = outputs

        override fun close() = Unit
    }

    private fun answers(described: ModelDescription, vararg outputs: Pair<String, Output>): () -> Unit {
        val sampler = FrameSampler(described.input)
        val painter = OverlayPainter(described)
        val engine = Engine.opened(described, Still(mapOf(*outputs)))
        return {
            val prepared = sampler.sample(frame, 90)
            val answer = engine.answer(prepared)
            painter.pixels(answer, HEIGHT, WIDTH, 0.3f)
        }
    }

    private val classifier = described("classification", 224, 1000, "crop")
    private val detector = described("detection", 320, 90, "stretch")
    private val coder = run {
        val json = Samples.json(task = "detection", labels = List(90) { "class $it" }).replace(
            """{"kind": "detections"}""",
            """{"kind": "codes", "anchors": {"levels": [{"rows": 20, "columns": 20, "offset": 0.5,
                "sizes": [[0.2, 0.2], [0.4, 0.4], [0.3, 0.5]]}]}, "box_scales": [10, 10, 5, 5],
                "background": true, "score_threshold": 0.05, "iou_threshold": 0.5,
                "max_detections": 100, "candidates": 400}""",
        )
        ModelDescription.read(ByteBuffer.wrap(Samples.model(json)))
    }
    private val segmenter = described("segmentation", 320, 21, "stretch")

    private fun logits() = "logits" to Output(intArrayOf(1, 1000), FloatArray(1000) { it % 37 * 0.1f })

    private fun map(): Pair<String, Output> {
        val classes = FloatArray(320 * 320) { at -> ((at / 320 / 40 + at % 320 / 40) % 21).toFloat() }
        return "map" to Output(intArrayOf(1, 320, 320), classes)
    }

    /** One score of a hundred is above the threshold. */
    private fun codes(): Array<Pair<String, Output>> {
        val random = Random(2)
        return arrayOf(
            "boxes" to Output(intArrayOf(1, 1200, 4), FloatArray(4800) { random.nextFloat() - 0.5f }),
            "scores" to Output(
                intArrayOf(1, 1200, 91),
                FloatArray(1200 * 91) { if (random.nextInt(100) == 0) random.nextFloat() else 0f },
            ),
        )
    }

    /** Ten objects of a quarter of the picture, with masks. */
    private fun objects(): Array<Pair<String, Output>> = arrayOf(
        "boxes" to Output(intArrayOf(1, 10, 4), FloatArray(40) { if (it % 4 < 2) 0.05f * (it / 4) else 0.05f * (it / 4) + 0.5f }),
        "scores" to Output(intArrayOf(1, 10), FloatArray(10) { 0.9f }),
        "labels" to Output(intArrayOf(1, 10), FloatArray(10) { it.toFloat() }),
        "count" to Output(intArrayOf(1), floatArrayOf(10f)),
        "masks" to Output(intArrayOf(1, 10, 28, 28), FloatArray(7840) { if (it % 28 in 4..23) 0.9f else 0.1f }),
    )

    @Test
    fun `a frame leaves little garbage`() {
        val all = mapOf(
            "input alone" to FrameSampler(classifier.input).let { { it.sample(frame, 90); Unit } },
            "classifier" to answers(classifier, logits()),
            "segmenter" to answers(segmenter, map()),
            "detector" to answers(coder, *codes()),
            "detector with masks" to answers(detector, *objects()),
        )
        for ((name, work) in all) {
            val (milliseconds, bytes) = measured(work)
            println("%-20s %7.3f ms a frame, %,9d bytes of garbage".format(name, milliseconds, bytes))
            assertTrue("$name: $bytes", bytes <= MOST_BYTES)
        }
    }

    /** The processor's time for the median frame, and what a frame allocates when nothing is new. */
    private fun measured(work: () -> Unit): Pair<Double, Long> {
        repeat(frames) { work() }
        val times = LongArray(frames)
        val before = Meter.bytes()
        for (at in 0 until frames) {
            val start = Meter.nanos()
            work()
            times[at] = Meter.nanos() - start
        }
        val garbage = Meter.bytes() - before
        times.sort()
        return times[frames / 2] / 1e6 to garbage / frames
    }

    /** Of this thread, by java.lang.management, which Gradle's android.jar has not. */
    private object Meter {
        private val bean = Class.forName("java.lang.management.ManagementFactory")
            .getMethod("getThreadMXBean").invoke(null)
        private val kind = Class.forName("com.sun.management.ThreadMXBean")
        private val time = kind.getMethod("getCurrentThreadCpuTime")
        private val allocated = kind.getMethod("getThreadAllocatedBytes", Long::class.javaPrimitiveType)

        fun nanos(): Long = time.invoke(bean) as Long

        fun bytes(): Long = allocated.invoke(bean, Thread.currentThread().id) as Long
    }

    private companion object {
        const val WIDTH = 640
        const val HEIGHT = 480
        const val MOST_BYTES = 100_000L
    }
}
