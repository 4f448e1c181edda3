package org.kerascnn.demo.core

import java.nio.ByteBuffer

/** A file that is ready to run: the runtime's, or a test's own. */
interface Network : AutoCloseable {
    /** Nanoseconds of the last run, as the runtime measured it. */
    val lastNanos: Long

    val facts: RuntimeFacts
        get() = RuntimeFacts()

    /**
     * Run once.
     *
     * @param input all numbers of the input.
     * @return what the signature's outputs hold, by name; valid until the next run.
     * @throws ModelProblem the runtime gave up.
     */
    fun run(input: ByteBuffer): Map<String, Output>
}
