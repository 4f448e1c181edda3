package org.kerascnn.demo.core

import java.nio.ByteBuffer
import java.nio.ByteOrder

/** A zip behind other bytes, of which nothing is compressed; numbers are those of APPNOTE.TXT. */
internal object StoredZip {
    private const val END = 0x06054b50
    private const val END_BYTES = 22
    private const val ENTRY = 0x02014b50
    private const val ENTRY_BYTES = 46
    private const val HEADER = 0x04034b50
    private const val HEADER_BYTES = 30
    private const val LONGEST_COMMENT = 0xffff
    private const val LARGEST = 1 shl 23

    /**
     * Bytes of an entry; null where there is no such entry, or no zip.
     *
     * @throws ModelProblem the zip is cut off, compressed, or makes no sense.
     */
    fun entry(file: ByteBuffer, name: String): ByteArray? {
        val view = file.duplicate()
        view.fromStart()
        view.cutAt(file.limit())
        view.order(ByteOrder.LITTLE_ENDIAN)
        val end = end(view) ?: return null
        return try {
            find(view, end, name)
        } catch (beyond: IndexOutOfBoundsException) {
            throw broken(beyond)
        }
    }

    private fun end(view: ByteBuffer): Int? {
        val last = view.limit() - END_BYTES
        return (last downTo maxOf(0, last - LONGEST_COMMENT)).firstOrNull { at ->
            view.getInt(at) == END && at + END_BYTES + view.short(at + 20) == view.limit()
        }
    }

    private fun find(view: ByteBuffer, end: Int, name: String): ByteArray? {
        val size = view.int(end + 12)
        var at = end - size
        // Offsets count from the zip's beginning or from the file's, by who wrote it.
        val shift = at - view.int(end + 16)
        repeat(view.short(end + 10)) {
            if (view.getInt(place(at, end)) != ENTRY) throw broken()
            val here = at.toInt()
            val (nameBytes, extra, comment) = listOf(28, 30, 32).map { view.short(here + it) }
            at += ENTRY_BYTES + nameBytes + extra + comment
            if (at > end) throw broken()
            val its = String(view.bytes(here + ENTRY_BYTES, nameBytes), Charsets.UTF_8)
            if (its == name) return stored(view, here, shift, end)
        }
        return null
    }

    private fun stored(view: ByteBuffer, entry: Int, shift: Long, end: Int): ByteArray {
        val compressed = view.short(entry + 10) != 0
        val length = view.int(entry + 24)
        val header = place(view.int(entry + 42) + shift, end)
        if (compressed || length > LARGEST || view.getInt(header) != HEADER) throw broken()
        val begin = header + HEADER_BYTES + view.short(header + 26) + view.short(header + 28)
        if (begin + length > end) throw broken()
        return view.bytes(begin, length.toInt())
    }

    private fun place(at: Long, end: Int): Int =
        if (at in 0 until end) at.toInt() else throw broken()

    private fun ByteBuffer.short(at: Int): Int = getShort(at).toInt() and 0xffff

    private fun ByteBuffer.int(at: Int): Long = getInt(at).toLong() and 0xffffffffL

    private fun broken(cause: Throwable? = null) =
        ModelProblem(ModelProblem.Kind.BROKEN, "zip", cause)
}
