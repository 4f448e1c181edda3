package org.kerascnn.demo.core

import java.io.DataInputStream
import java.nio.ByteBuffer

/** A network that another process runs: bytes in, and out the count of outputs, then each of them. */
class PipedNetwork(command: List<String>) : Network {
    private val process =
        ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start()
    private val from = DataInputStream(process.inputStream.buffered())

    override var lastNanos = 0L
        private set

    override fun run(input: ByteBuffer): Map<String, Output> {
        val began = System.nanoTime()
        val bytes = ByteArray(input.remaining()).also { input.duplicate().get(it) }
        process.outputStream.write(bytes)
        process.outputStream.flush()
        return List(from.readInt()) {
            val name = from.readUTF()
            val shape = IntArray(from.readInt()) { from.readInt() }
            val values = FloatArray(shape.fold(1, Int::times)) { from.readFloat() }
            name to Output(shape, values)
        }.toMap().also { lastNanos = System.nanoTime() - began }
    }

    override fun close() {
        process.outputStream.close()
        process.waitFor()
    }
}
