package org.kerascnn.demo.core

/**
 * A picture in memory.
 *
 * @param pixels 0xRRGGBB, row by row; what stands above 24 bits is not looked at.
 */
class Picture(val width: Int, val height: Int, val pixels: IntArray) {
    init {
        require(width > 0 && height > 0 && pixels.size.toLong() == width.toLong() * height) {
            "no picture of ${width}x$height has ${pixels.size} pixels"
        }
    }

    /** Turned clockwise by 0, 90, 180 or 270 degrees. */
    fun turned(degrees: Int): Picture = when (Math.floorMod(degrees, 360)) {
        0 -> this
        90 -> made(height, width) { x, y -> (height - 1 - x) * width + y }
        180 -> made(width, height) { x, y -> (height - 1 - y) * width + width - 1 - x }
        270 -> made(height, width) { x, y -> x * width + width - 1 - y }
        else -> throw IllegalArgumentException("pictures turn by quarters, not by $degrees degrees")
    }

    private inline fun made(wide: Int, high: Int, from: (Int, Int) -> Int): Picture {
        val turned = IntArray(pixels.size)
        var at = 0
        for (y in 0 until high) for (x in 0 until wide) turned[at++] = pixels[from(x, y)]
        return Picture(wide, high, turned)
    }
}
