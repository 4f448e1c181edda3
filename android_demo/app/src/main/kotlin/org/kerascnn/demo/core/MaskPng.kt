package org.kerascnn.demo.core

import java.io.DataInputStream
import java.io.IOException
import java.io.InputStream
import java.util.zip.InflaterInputStream
import kotlin.math.abs

/**
 * Masks in PNG files, as numbers: those of a palette, or of 8-bit grey; of 1-bit grey 0 and 255. What
 * Android makes of such a file are colours. Source: PNG specification (W3C, 2003), 7, 9 and 11.
 */
object MaskPng {
    private const val SIGNATURE = -8552249625308161526L // 89 50 4E 47 0D 0A 1A 0A
    private const val GREY = 0
    private const val PALETTE = 3
    private const val MOST_PIXELS = 1L shl 24
    private const val CHUNK_OVERHEAD = 4L

    private class Header(val width: Int, val height: Int, val depth: Int, val colour: Int)

    /** @throws IOException it is no such file, or broken, or too large. */
    fun read(stream: InputStream): ClassNumbers {
        val data = DataInputStream(stream.buffered())
        if (data.readLong() != SIGNATURE) throw IOException("no PNG")
        val header = header(data)
        val rows = DataInputStream(InflaterInputStream(Pixels(data)))
        val values = ByteArray(header.width * header.height)
        val length = (header.width * header.depth + 7) / 8
        var above = ByteArray(length)
        var row = ByteArray(length)
        for (y in 0 until header.height) {
            val filter = rows.readUnsignedByte()
            rows.readFully(row)
            unfilter(filter, row, above)
            spread(row, header, values, y * header.width)
            above = row.also { row = above }
        }
        rows.read() // to the checksum, which stands behind the last row
        return ClassNumbers(header.width, header.height, values)
    }

    private fun header(data: DataInputStream): Header {
        val length = data.readInt()
        if (length != 13 || data.readInt() != name("IHDR")) throw IOException("no header")
        val header = Header(data.readInt(), data.readInt(), data.readUnsignedByte(), data.readUnsignedByte())
        data.readUnsignedByte() // how it is compressed: there is one way
        data.readUnsignedByte()
        val interlaced = data.readUnsignedByte() != 0
        data.readInt()
        val sound = header.width > 0 && header.height > 0 &&
            header.width.toLong() * header.height <= MOST_PIXELS
        val numbers = when (header.colour) {
            GREY -> header.depth == 1 || header.depth == 8
            PALETTE -> header.depth in listOf(1, 2, 4, 8)
            else -> false
        }
        if (!sound || !numbers || interlaced) throw IOException("no mask of numbers")
        return header
    }

    private fun name(text: String): Int = text.fold(0) { all, letter -> all shl 8 or letter.code }

    /** What is in all IDAT chunks, one behind the other. */
    private class Pixels(private val data: DataInputStream) : InputStream() {
        private var left = 0

        override fun read(): Int {
            val one = ByteArray(1)
            return if (read(one, 0, 1) < 0) -1 else one[0].toInt() and 0xff
        }

        override fun read(target: ByteArray, offset: Int, length: Int): Int {
            if (length == 0) return 0
            while (left == 0) if (!next()) return -1
            val count = data.read(target, offset, minOf(length, left))
            if (count < 0) throw IOException("cut off")
            left -= count
            if (left == 0) pass(CHUNK_OVERHEAD)
            return count
        }

        /** Go to the next IDAT; false behind the last. */
        private fun next(): Boolean {
            while (true) {
                val length = data.readInt()
                val kind = data.readInt()
                if (length < 0) throw IOException("a chunk of $length bytes")
                if (kind == name("IEND")) return false
                if (kind == name("IDAT") && length > 0) {
                    left = length
                    return true
                }
                pass(length + CHUNK_OVERHEAD)
            }
        }

        private fun pass(count: Long) {
            var rest = count
            while (rest > 0) {
                val skipped = data.skip(rest)
                if (skipped <= 0) {
                    data.readByte()
                    rest--
                } else {
                    rest -= skipped
                }
            }
        }
    }

    /** A pixel's neighbour is a byte away: none of these files has more to a pixel. */
    private fun unfilter(filter: Int, row: ByteArray, above: ByteArray) {
        for (at in row.indices) {
            val left = if (at > 0) row[at - 1].toInt() and 0xff else 0
            val up = above[at].toInt() and 0xff
            val corner = if (at > 0) above[at - 1].toInt() and 0xff else 0
            val guess = when (filter) {
                0 -> 0
                1 -> left
                2 -> up
                3 -> (left + up) / 2
                4 -> nearest(left, up, corner)
                else -> throw IOException("filter $filter")
            }
            row[at] = (row[at] + guess).toByte()
        }
    }

    private fun nearest(left: Int, up: Int, corner: Int): Int {
        val guess = left + up - corner
        val (toLeft, toUp, toCorner) = Triple(abs(guess - left), abs(guess - up), abs(guess - corner))
        return if (toLeft <= toUp && toLeft <= toCorner) left else if (toUp <= toCorner) up else corner
    }

    private fun spread(row: ByteArray, header: Header, values: ByteArray, begin: Int) {
        val depth = header.depth
        val most = (1 shl depth) - 1
        for (x in 0 until header.width) {
            val bit = x * depth
            val number = row[bit / 8].toInt() and 0xff shr (8 - depth - bit % 8) and most
            val white = header.colour == GREY && depth == 1 && number == 1
            values[begin + x] = (if (white) 255 else number).toByte()
        }
    }
}
