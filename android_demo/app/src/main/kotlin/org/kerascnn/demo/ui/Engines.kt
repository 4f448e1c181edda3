package org.kerascnn.demo.ui

import java.io.IOException
import java.nio.ByteBuffer
import org.kerascnn.demo.R
import org.kerascnn.demo.core.Answerer
import org.kerascnn.demo.core.Engine
import org.kerascnn.demo.core.ModelProblem

/** Opens models: by the runtime, which exists on phones alone, or by what a test puts here. */
fun interface Engines {
    fun open(bytes: ByteBuffer, setup: Setup): Answerer

    companion object {
        @Volatile
        var current = Engines { bytes, setup -> Engine(bytes, setup.threads, setup.accelerator) }
    }
}

/**
 * Do what models and files can fail at; what failed becomes a problem that a user understands.
 *
 * @param setup what a model runs on; null where it does not run.
 */
fun <T> guarded(onProblem: (Problem) -> T, setup: Setup? = null, work: () -> T): T = try {
    work()
} catch (problem: ModelProblem) {
    onProblem(Problem.Model(problem, setup?.accelerator))
} catch (problem: IOException) {
    onProblem(Problem.Unreadable(problem.message ?: problem.javaClass.simpleName))
} catch (_: OutOfMemoryError) {
    onProblem(Problem.Plain(R.string.problem_memory))
}
