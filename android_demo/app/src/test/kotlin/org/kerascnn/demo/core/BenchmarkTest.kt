package org.kerascnn.demo.core

import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNull
import org.junit.Test

class BenchmarkTest {
    /** Answers the class that a picture's first pixel names, a millisecond slower each time. */
    private class Fake(override val description: ModelDescription) : Answerer {
        var answered = 0
        override val lastNanos: Long
            get() = answered * 1_000_000L

        override fun answer(picture: Picture): Answer {
            answered++
            return Answer.Labels(listOf(Scored(picture.pixels[0], 0.9f)))
        }

        override fun answer(prepared: Prepared): Answer = throw AssertionError("no frame is timed")

        override fun close() = Unit
    }

    private val fake = Fake(ModelDescription.read(Files.model()))
    private val picture = Picture(1, 1, intArrayOf(0))

    @Test
    fun `the first runs do not count`() {
        val told = mutableListOf<Int>()
        val summary = Benchmark.latency(fake, picture, 2, 5, { false }) { done, all ->
            assertEquals(7, all)
            told += done
        }
        // 3, 4, 5, 6 and 7 ms; numpy.percentile([3, 4, 5, 6, 7], 95) is 6.8.
        assertEquals(5.0, summary!!.medianMs, 1e-9)
        assertEquals(6.8, summary.p95Ms, 1e-9)
        assertEquals(5, summary.runs)
        assertEquals((1..7).toList(), told)
    }

    @Test
    fun `stopping keeps what was measured`() {
        assertEquals(3, Benchmark.latency(fake, picture, 2, 50, { fake.answered == 5 })!!.runs)
        assertNull(Benchmark.latency(fake, picture, 2, 50, { true }))
        assertEquals(LatencySummary(1.5, 1.95, 2), Benchmark.summary(listOf(2_000_000, 1_000_000)))
    }

    @Test
    fun `accuracy is of the pictures that could be judged`() {
        fun one(label: String, found: Int?) =
            LabelledPicture(label) { found?.let { Picture(1, 1, intArrayOf(it)) } }
        val folder = listOf(
            one("bär", 0), one("bär", 1), one("고양이", 1),
            one("c", null), one("d", 2), one("c", 2),
        )
        val accuracy = Benchmark.accuracy(fake, folder)
        assertEquals(Accuracy(right = 3, pictures = 4, unreadable = 1, unknown = 1), accuracy)
        assertEquals(75.0, accuracy.percent!!, 0.0)
        assertEquals(4, fake.answered)
        val stopped = Benchmark.accuracy(fake, folder, { fake.answered == 6 })
        assertEquals(Accuracy(1, 2, 0, 0), stopped)
        assertNull(Benchmark.accuracy(fake, emptyList()).percent)
    }

    @Test
    fun `other tasks have no accuracy`() {
        val file = Files.model {
            put("task", "detection")
            put("decoding", JSONObject("""{"kind": "detections"}"""))
        }
        val detector = object : Answerer by Fake(ModelDescription.read(file)) {
            override fun answer(picture: Picture) = Answer.Boxes(emptyList())
        }
        assertRefused(ModelProblem.Kind.BROKEN, "task") {
            Benchmark.accuracy(detector, listOf(LabelledPicture("c") { picture }))
        }
    }
}
