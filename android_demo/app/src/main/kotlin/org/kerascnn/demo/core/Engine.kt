package org.kerascnn.demo.core

import java.nio.ByteBuffer

enum class Accelerator { CPU, GPU }

/** What answers pictures; to be used by the thread that made it. */
interface Answerer : AutoCloseable {
    val description: ModelDescription

    /** Nanoseconds of the network alone for the last answer. */
    val lastNanos: Long

    val facts: RuntimeFacts
        get() = RuntimeFacts()

    /**
     * Whether the runtime answers as the file says that it did where it was written; null where the
     * file does not say.
     *
     * @throws ModelProblem the runtime gave up.
     */
    fun selfTest(): SelfTestResult? = null

    /** @throws ModelProblem the runtime gave up, or outputs are not what the file says. */
    fun answer(picture: Picture): Answer

    /**
     * Answer what a `FrameSampler` made of a frame. A map's classes and objects' masks are valid until
     * the next answer.
     *
     * @throws ModelProblem as for a picture.
     */
    fun answer(prepared: Prepared): Answer
}

/** A .tflite file that is open, and all that stands between it and a picture. */
class Engine private constructor(
    override val description: ModelDescription,
    private val network: Network,
    private val inHalf: Boolean,
) : Answerer {
    private val preprocessor = Preprocessor(description.input)
    private val decoder = Decoder(description)

    private constructor(
        file: ByteBuffer,
        description: ModelDescription,
        threads: Int,
        accelerator: Accelerator,
    ) : this(
        description,
        LiteNetwork.open(file, description.input, threads, accelerator),
        accelerator == Accelerator.GPU, // whose delegate may lose precision, as it is asked to
    )

    /**
     * Open a file.
     *
     * @param file all of it; it must not change as long as the engine is open.
     * @param threads of the CPU.
     * @throws ModelProblem the file is none of ours, broken, or more than the runtime can do.
     */
    constructor(file: ByteBuffer, threads: Int, accelerator: Accelerator) :
        this(file, ModelDescription.read(file), threads, accelerator)

    override val lastNanos: Long
        get() = network.lastNanos

    override val facts: RuntimeFacts
        get() = network.facts

    override fun selfTest(): SelfTestResult? {
        val test = description.selfTest ?: return null
        val (height, width) = description.input.height to description.input.width
        val image = TestImage.bytes(height, width, description.input.channels)
        return test.compare(network.run(preprocessor.ofBytes(image)), inHalf)
    }

    override fun answer(picture: Picture): Answer = answer(preprocessor.prepare(picture))

    override fun answer(prepared: Prepared): Answer =
        decoder.decode(network.run(prepared.input), prepared.placement)

    override fun close() = network.close()

    companion object {
        /** An engine around a network of one's own. */
        fun opened(description: ModelDescription, network: Network, inHalf: Boolean = false) =
            Engine(description, network, inHalf)
    }
}
