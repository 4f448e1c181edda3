package org.kerascnn.demo.ui

import android.content.res.Resources
import org.kerascnn.demo.R
import org.kerascnn.demo.core.Accelerator
import org.kerascnn.demo.core.ModelProblem

/** What a user can be told: what is wrong, and what to do about it. */
sealed class Problem {
    /** In the user's language. */
    abstract fun text(resources: Resources): String

    /** @param accelerator what the file was to run on; null where it was read alone. */
    class Model(private val problem: ModelProblem, private val accelerator: Accelerator?) :
        Problem() {
        override fun text(resources: Resources): String =
            resources.getString(sentence(), problem.detail)

        private fun sentence(): Int = when (problem.kind) {
            ModelProblem.Kind.NOT_A_MODEL -> R.string.problem_not_a_model
            ModelProblem.Kind.NO_METADATA -> R.string.problem_no_metadata
            ModelProblem.Kind.NEWER_FORMAT -> R.string.problem_newer
            ModelProblem.Kind.UNKNOWN_TASK -> R.string.problem_task
            ModelProblem.Kind.BROKEN -> R.string.problem_broken
            ModelProblem.Kind.RUNTIME -> onGpu(R.string.problem_runtime)
            ModelProblem.Kind.UNSUPPORTED_OP -> onGpu(R.string.problem_operation)
        }

        /** The CPU knows more operations than a GPU. */
        private fun onGpu(otherwise: Int): Int =
            if (accelerator == Accelerator.GPU) R.string.problem_accelerator else otherwise
    }

    class Unreadable(private val detail: String) : Problem() {
        override fun text(resources: Resources): String =
            resources.getString(R.string.problem_unreadable, detail)
    }

    class CameraStopped(private val detail: String) : Problem() {
        override fun text(resources: Resources): String =
            resources.getString(R.string.problem_camera, detail)
    }

    /** What needs no detail. */
    class Plain(val sentence: Int) : Problem() {
        override fun text(resources: Resources): String = resources.getString(sentence)
    }
}
