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
import org.kerascnn.demo.core.ModelDescription
import org.kerascnn.demo.core.Picture

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
        ) : State()

        class Failed(override val file: ModelFile, val problem: Problem) : State()
    }

    /** A still picture and what a view draws of it. */
    class Still(val picture: Picture, val bitmap: Bitmap)

    /**
     * @param width, height of the picture.
     * @param source what the picture was of, so that late answers are not shown.
     */
    class Answered(
        val answer: Answer,
        val width: Int,
        val height: Int,
        val networkMilliseconds: Double,
        val allMilliseconds: Double,
        val source: Int,
    )

    private val main = Handler(Looper.getMainLooper())
    private val worker = Executors.newSingleThreadExecutor()
    private val waiting = AtomicInteger()
    private var generation = 0

    // Of the worker alone.
    private var engine: Answerer? = null
    private var engineGeneration = 0
    private var engineSetup: Setup? = null

    @Volatile private var ready = false

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
            engineGeneration = mine
            engineSetup = setup
            val result = guarded({ State.Failed(file, it) }, setup) { load(file, setup) }
            main.post { if (mine == generation) show(result) }
        }
    }

    /** Answer a picture after all that wait before it. */
    fun ask(picture: Picture, source: Int) {
        waiting.incrementAndGet()
        run { answer(picture, source) }
    }

    /** Answer a camera's frame if none waits. */
    fun offer(frame: Picture, source: Int) {
        if (ready && waiting.compareAndSet(0, 1)) run { answer(frame, source) }
    }

    /** Whether a frame would be answered now. */
    fun isIdle(): Boolean = ready && waiting.get() == 0

    fun forgetAnswer() {
        answered = null
    }

    fun close() {
        generation++
        ready = false
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
        return State.Ready(file, opened.description, size)
    }

    private fun answer(picture: Picture, source: Int) {
        val mine = engineGeneration
        val asked = engine
        val made: Any? = asked?.let {
            guarded<Any>({ it }, engineSetup) {
                val start = System.nanoTime()
                val answer = asked.answer(picture)
                val all = (System.nanoTime() - start) / NANOS
                val network = asked.lastNanos / NANOS
                Answered(answer, picture.width, picture.height, network, all, source)
            }
        }
        waiting.decrementAndGet()
        main.post { if (mine == generation) take(made) }
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
    }
}
