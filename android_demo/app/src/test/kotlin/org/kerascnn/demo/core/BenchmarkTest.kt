package org.kerascnn.demo.core

import org.json.JSONObject
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNotEquals
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

    /** Seconds that grow with each answer. */
    private fun pace(warmUp: Double, seconds: Double, answer: Double) =
        Pace(warmUp, seconds) { (fake.answered * answer * 1e9).toLong() }

    @Test
    fun `runs of the first second do not count, and those of five seconds do`() {
        val told = mutableListOf<Double>()
        val times = Benchmark.times(fake, picture, pace(1.0, 5.0, 0.5), { false }, told::add)
        // Two answers of half a second, then ten.
        assertEquals((3..12).map { it * 1_000_000L }, times)
        assertEquals((1..12).map { it / 12.0 }, told)
    }

    @Test
    fun `a slow file is timed once at least`() {
        assertEquals(listOf(2_000_000L), Benchmark.times(fake, picture, pace(1.0, 5.0, 60.0)))
    }

    @Test
    fun `what is broken off is no measurement`() {
        assertNull(Benchmark.times(fake, picture, pace(1.0, 5.0, 0.5), { fake.answered == 1 }))
        assertNull(Benchmark.times(fake, picture, pace(1.0, 5.0, 0.5), { fake.answered == 9 }))
        assertEquals(9, fake.answered)
    }

    @Test
    fun `percentiles are NumPy's`() {
        // numpy.percentile([3, 4, 5, 6, 7], [50, 90, 95, 99])
        val summary = checkNotNull(Benchmark.summary(listOf(7, 3, 5, 4, 6).map { it * 1_000_000L }))
        assertEquals(5.0, summary.medianMs, 1e-9)
        assertEquals(6.6, summary.p90Ms, 1e-9)
        assertEquals(6.8, summary.p95Ms, 1e-9)
        assertEquals(6.96, summary.p99Ms, 1e-9)
        assertEquals(5, summary.runs)
        assertNull(Benchmark.summary(emptyList()))
    }

    @Test
    fun `every file is timed in every round, in changing order`() {
        val order = Benchmark.order(6, 5, 1)
        for (round in order) assertEquals((0..5).toList(), round.sorted())
        assertEquals(5, order.distinct().size)
        assertEquals(order, Benchmark.order(6, 5, 1))
        assertNotEquals(order, Benchmark.order(6, 5, 2))
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
