package org.kerascnn.demo.core

/** What kind of problem the runtime means by its messages. */
internal object RuntimeWords {
    // Of tensorflow/lite: core/api/op_resolver.cc, kernels/register.cc, core/subgraph.cc.
    private val OPERATIONS = listOf(
        Regex("Didn't find op for builtin opcode '([^']*)' version '([0-9]+)'"),
        Regex("[Uu]nresolved custom op: ([A-Za-z0-9_]+)"),
        Regex("Op builtin_code out of range: ([0-9]+)"),
        // Known, but not with numbers of these types. Delegates are nodes too.
        Regex("Node number [0-9]+ \\((?![A-Za-z0-9]*Delegate)([A-Za-z0-9_]+)\\) failed to prepare"),
        Regex("Select TensorFlow op\\(s\\), included in the given model, (?:is|are) not supported"),
    )
    private val NOT_A_MODEL = Regex("not a valid (?:TensorFlow ?Lite|TFLite|flatbuffer) model")

    fun problem(error: Throwable): ModelProblem {
        val words = error.message.orEmpty().trim().ifEmpty { error.javaClass.simpleName }
        for (pattern in OPERATIONS) {
            val found = pattern.find(words) ?: continue
            val operation = found.groupValues.drop(1).joinToString(" ").ifEmpty { found.value }
            return ModelProblem(ModelProblem.Kind.UNSUPPORTED_OP, operation, error)
        }
        val broken = NOT_A_MODEL.containsMatchIn(words)
        val kind = if (broken) ModelProblem.Kind.BROKEN else ModelProblem.Kind.RUNTIME
        return ModelProblem(kind, words.lineSequence().first(), error)
    }
}
