package org.kerascnn.demo.ui

import android.content.Context
import android.graphics.Bitmap
import android.os.Handler
import android.os.Looper
import java.util.concurrent.Executors
import java.util.concurrent.RejectedExecutionException
import java.util.concurrent.atomic.AtomicInteger
import org.kerascnn.demo.core.Answer
import org.kerascnn.demo.core.Answerer
import org.kerascnn.demo.core.FrameSampler
import org.kerascnn.demo.core.ModelDescription
import org.kerascnn.demo.core.Picture
import org.kerascnn.demo.core.Placement
import org.kerascnn.demo.core.SelfTestResult
import org.kerascnn.demo.core.YuvFrame

/**
 * A model at work: loaded and asked on one thread, which the GPU's delegate demands.
 *
 * It outlives rotations. All of it but `offer` and `isIdle` belongs to the main thread.
 */
class Session(private val context: Context) {
    sealed class State {
        abstract val file: ModelFile?

        object None : State() {
            override val file = null
        }

        class Loading(override val file: ModelFile) : State()

        class Ready(
            override val file: ModelFile,
            val description: ModelDescription,
            val bytes: Long,
            val selfTest: SelfTestResult? = null,
            val setup: Setup? = null,
        ) : State()

        class Failed(override val file: ModelFile, val problem: Problem) : State()
    }

    /** A still picture and what a view draws of it. */
    class Still(val picture: Picture, val bitmap: Bitmap)

    /**
     * @param width, height of the picture.
     * @param source what the picture was of, so that late answers are not shown.
     * @param overlay what is laid over the picture.
     * @param areas of a map: how many pixels each of 256 classes has; empty otherwise.
     */
    class Answered(
        val answer: Answer,
        val width: Int,
        val height: Int,
        val networkMilliseconds: Double,
        val allMilliseconds: Double,
        val source: Int,
        val overlay: Bitmap? = null,
        val areas: IntArray = NOTHING,
    ) {
        /** The same with another overlay. */
        fun with(overlay: Bitmap?) = Answered(
            answer, width, height, networkMilliseconds, allMilliseconds, source, overlay, areas,
        )
    }

    /** What makes a model's input of frames; of the camera's thread while a frame is offered. */
    private class Eyes(val generation: Int, val sampler: FrameSampler)

    private val main = Handler(Looper.getMainLooper())
    private val worker = Executors.newSingleThreadExecutor()
    private val waiting = AtomicInteger()
    private var generation = 0

    // Of the worker alone.
    private var engine: Answerer? = null
    private var engineGeneration = 0
    private var engineSetup: Setup? = null
    private var painter: OverlayPainter? = null

    /** What `answered` was made of, or is being made of. */
    private var last: Answered? = null

    @Volatile private var eyes: Eyes? = null
    @Volatile private var ready = false

    /** Of objects whose masks are drawn, from 0 to 1. */
    @Volatile var lowestScore = 0f

    /** Called after every change. */
    var listener: (() -> Unit)? = null

    var state: State = State.None
        private set

    /** The last answer of this model. */
    var answered: Answered? = null
        private set

    var still: Still? = null

    val description: ModelDescription?
        get() = (state as? State.Ready)?.description

    /** Load a model in the place of this one. */
    fun open(file: ModelFile, setup: Setup) {
        val mine = ++generation
        show(State.Loading(file))
        run {
            engine?.close()
            engine = null
            painter = null
            last = null
            engineGeneration = mine
            engineSetup = setup
            val result = guarded({ State.Failed(file, it) }, setup) { load(file, setup) }
            main.post { if (mine == generation) show(result) }
        }
    }

    /** Answer a picture after all that wait before it. */
    fun ask(picture: Picture, source: Int) {
        waiting.incrementAndGet()
        run {
            answer(source, System.nanoTime()) {
                it.answer(picture) to Placement(picture.width, picture.height, 0, 0, 0, 0)
            }
        }
    }

    /**
     * Answer a camera's frame if none waits; it is not looked at after the call.
     *
     * @param turn degrees clockwise by which it stands upright.
     */
    fun offer(frame: YuvFrame, turn: Int, source: Int) {
        val looking = eyes
        if (looking == null || !ready || !waiting.compareAndSet(0, 1)) return
        val start = System.nanoTime()
        val prepared = looking.sampler.sample(frame, turn)
        run {
            answer(source, start) { engine ->
                // Of another model by now: nobody wants it.
                if (looking.generation == engineGeneration) engine.answer(prepared) to prepared.placement else null
            }
        }
    }

    /** Draw the last answer again: `lowestScore` is another. */
    fun redraw() = run {
        val (mine, drawn, painter) = Triple(engineGeneration, last, painter)
        if (drawn == null || painter == null) return@run
        if ((drawn.answer as? Answer.Boxes)?.found.orEmpty().none { it.mask != null }) return@run
        val again = drawn.with(painter.painted(drawn.answer, drawn.width, drawn.height, lowestScore))
        main.post { if (mine == generation && answered?.answer === again.answer) take(again) }
    }

    /** Whether a frame would be answered now: the last one was, and is shown. */
    fun isIdle(): Boolean = ready && waiting.get() == 0

    fun forgetAnswer() {
        answered = null
    }

    fun close() {
        generation++
        ready = false
        eyes = null
        listener = null
        run {
            engine?.close()
            engine = null
        }
        worker.shutdown()
    }

    private fun load(file: ModelFile, setup: Setup): State {
        val bytes = file.bytes(context)
        val size = bytes.limit().toLong()
        val opened = Engines.current.open(bytes, setup)
        engine = opened
        painter = OverlayPainter(opened.description)
        eyes = Eyes(engineGeneration, FrameSampler(opened.description.input))
        return State.Ready(file, opened.description, size, opened.selfTest(), setup)
    }

    /** @param ask gives an answer, and the size of what it is of. */
    private fun answer(source: Int, start: Long, ask: (Answerer) -> Pair<Answer, Placement>?) {
        val mine = engineGeneration
        val asked = engine
        val made: Any? = asked?.let {
            guarded<Any?>({ it }, engineSetup) {
                ask(asked)?.let { (answer, place) ->
                    answered(answer, place.pictureWidth, place.pictureHeight, asked.lastNanos, start, source)
                }
            }
        }
        if (made is Answered) last = made
        main.post {
            waiting.decrementAndGet()
            if (mine == generation) take(made)
        }
    }

    private fun answered(answer: Answer, width: Int, height: Int, network: Long, start: Long, source: Int): Answered {
        val overlay = painter?.painted(answer, width, height, lowestScore)
        val areas = if (answer is Answer.ClassMap) areas(answer) else NOTHING
        val all = System.nanoTime() - start
        return Answered(answer, width, height, network / NANOS, all / NANOS, source, overlay, areas)
    }

    private fun areas(map: Answer.ClassMap): IntArray {
        val pixels = IntArray(256)
        for (each in map.classes) pixels[each.toInt() and 0xff]++
        return pixels
    }

    private fun take(made: Any?) {
        when (made) {
            is Answered -> {
                answered = made
                listener?.invoke()
            }
            is Problem -> state.file?.let { show(State.Failed(it, made)) }
        }
    }

    private fun show(next: State) {
        answered = null
        state = next
        ready = next is State.Ready
        listener?.invoke()
    }

    private fun run(work: () -> Unit) {
        try {
            worker.execute(work)
        } catch (_: RejectedExecutionException) {
            waiting.set(0) // closed meanwhile: nobody waits for it
        }
    }

    private companion object {
        const val NANOS = 1e6
        val NOTHING = IntArray(0)
    }
}
