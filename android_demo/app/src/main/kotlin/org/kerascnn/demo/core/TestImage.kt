package org.kerascnn.demo.core

/** The image of the self-test: see export/artefacts/selftest_image.py, whose bytes these are. */
internal object TestImage {
    private const val KNUTH = -1640531535 // 2654435761 in 32 bits
    private const val DISCS = 8

    private class Disc(val x: Int, val y: Int, val square: Int, val soft: Boolean, val colours: IntArray)

    /** 2654435761 (k + 1) mod 2^32. */
    fun hash(k: Int): Long = ((k + 1) * KNUTH).toLong() and 0xffffffffL

    /** Bytes of a size, red first. */
    fun bytes(height: Int, width: Int, channels: Int): ByteArray {
        val made = ByteArray(height * width * channels)
        val discs = discs()
        val pixel = IntArray(3)
        var at = 0
        for (row in 0 until height) {
            val y = row * 256 / height
            for (column in 0 until width) {
                val x = column * 256 / width
                colour(pixel, discs, y, x)
                shade(pixel, y, x, 3 * (row * width + column))
                if (channels == 3) {
                    for (value in pixel) made[at++] = value.toByte()
                } else {
                    made[at++] = (pixel[0] + 2 * pixel[1] + pixel[2] + 2 shr 2).toByte()
                }
            }
        }
        return made
    }

    private fun discs(): List<Disc> {
        var state = 1
        fun number(): Int {
            state = 1103515245 * state + 12345 and Int.MAX_VALUE
            return state shr 16
        }
        return List(DISCS) { place ->
            val (x, y) = number() % 256 to number() % 256
            val radius = 16 + number() % 64
            Disc(x, y, radius * radius, place % 2 == 0, IntArray(3) { number() % 256 })
        }
    }

    private fun colour(pixel: IntArray, discs: List<Disc>, y: Int, x: Int) {
        pixel[0] = x
        pixel[1] = y
        pixel[2] = 255 - (x + y) / 2
        for (disc in discs) {
            val inside = disc.square - (x - disc.x) * (x - disc.x) - (y - disc.y) * (y - disc.y)
            if (inside <= 0) continue
            val weight = if (disc.soft) inside else disc.square
            for (c in 0..2) {
                pixel[c] = (pixel[c] * (disc.square - weight) + disc.colours[c] * weight) / disc.square
            }
        }
    }

    private fun shade(pixel: IntArray, y: Int, x: Int, first: Int) {
        val dark = x >= 128 && y >= 128 && (x shr 4 xor (y shr 4)) and 1 == 1
        for (c in 0..2) {
            val lit = if (dark) pixel[c] * 3 / 4 else pixel[c]
            pixel[c] = (lit + (hash(first + c) shr 27).toInt() - 16).coerceIn(0, 255)
        }
    }
}
