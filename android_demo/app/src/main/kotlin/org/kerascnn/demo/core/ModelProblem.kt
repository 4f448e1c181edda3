package org.kerascnn.demo.core

/**
 * Why a file gives no answers.
 *
 * @param detail what the kind's sentence is about: a field, an operation, the runtime's own words.
 */
class ModelProblem(val kind: Kind, val detail: String, cause: Throwable? = null) :
    Exception("$kind: $detail", cause) {

    enum class Kind {
        /** No TFLite file. */
        NOT_A_MODEL,

        /** A TFLite file that does not describe itself. */
        NO_METADATA,

        /** Made by a later version; the detail is its format's number. */
        NEWER_FORMAT,

        /** The detail is the task. */
        UNKNOWN_TASK,

        /** What it says of itself makes no sense, or is not what it holds. */
        BROKEN,

        /** The runtime, or the GPU, is not to be had, or gave up. */
        RUNTIME,

        /** An operation that the runtime does not know. */
        UNSUPPORTED_OP,
    }
}
