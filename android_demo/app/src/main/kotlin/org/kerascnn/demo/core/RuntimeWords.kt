package org.kerascnn.demo.core

/** What kind of problem the runtime, LiteRT 1.x or TensorFlow Lite, means by its messages. */
internal object RuntimeWords {
    // Of tflite (LiteRT) and tensorflow/lite: core/api/op_resolver.cc, core/interpreter_builder.cc,
    // core/subgraph.cc.
    private val OPERATIONS = listOf(
        Regex("Didn't find op for builtin opcode '([^']*)' version '([0-9]+)'"),
        Regex("[Uu]nresolved custom op: ([A-Za-z0-9_]+)"),
        Regex("Op builtin_code out of range: ([0-9]+)"),
        // Known, but not with numbers of these types. Delegates are nodes too.
        Regex("Node number [0-9]+ \\((?![A-Za-z0-9]*Delegate)([A-Za-z0-9_]+)\\) failed to prepare"),
        Regex("Select TensorFlow op\\(s\\), included in the given model, (?:is|are) not supported"),
    )
    // Of java/src/main/native/nativeinterpreterwrapper_jni.cc, and of what verifies a file below it.
    private val NOT_A_MODEL = Regex(
        "(?:not|does not encode) a valid (?:(?:TensorFlow ?Lite|TFLite|LiteRT|[Ff]lat[Bb]uffer) )?model" +
            "|Model provided (?:is schema version|has model identifier)",
    )

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
