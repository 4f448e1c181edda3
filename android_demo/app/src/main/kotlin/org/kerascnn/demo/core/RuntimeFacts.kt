package org.kerascnn.demo.core

import java.nio.ByteBuffer
import java.nio.ByteOrder

/**
 * What is known of the runtime that has a file open.
 *
 * @param version of the runtime; empty where it does not tell.
 * @param nodes operations of the file; null where it does not tell.
 * @param planNodes what is run in their place: all that a delegate took of them in one piece is one.
 */
data class RuntimeFacts(val version: String = "", val nodes: Int? = null, val planNodes: Int? = null) {
    /** What a file really runs on, of what was asked for; empty where that is not known. */
    fun used(asked: Accelerator): String = when {
        asked == Accelerator.CPU -> "CPU"
        nodes == null || planNodes == null -> ""
        planNodes == 1 -> "GPU"
        planNodes < nodes -> "GPU in part"
        else -> "CPU"
    }

    companion object {
        // Of tflite/schema/schema.fbs.
        private const val MODEL_SUBGRAPHS = 2
        private const val SUBGRAPH_OPERATORS = 3

        /** How many operations a file's first graph has; null where it makes no sense. */
        fun operations(file: ByteBuffer): Int? = try {
            val view = file.duplicate().order(ByteOrder.LITTLE_ENDIAN)
            val graphs = view.field(view.getInt(0), MODEL_SUBGRAPHS)
            val graph = graphs?.let { it + 4 + view.getInt(it + 4) }
            graph?.let { view.field(it, SUBGRAPH_OPERATORS) }?.let(view::getInt)?.takeIf { it > 0 }
        } catch (_: IndexOutOfBoundsException) {
            null
        }

        /** Where the vector is that a field of a flatbuffer's table leads to; null without it. */
        private fun ByteBuffer.field(table: Int, number: Int): Int? {
            val names = table - getInt(table)
            val entry = 4 + 2 * number
            val there = entry < (getShort(names).toInt() and 0xffff)
            val offset = if (there) getShort(names + entry).toInt() and 0xffff else 0
            return if (offset == 0) null else table + offset + getInt(table + offset)
        }
    }
}
