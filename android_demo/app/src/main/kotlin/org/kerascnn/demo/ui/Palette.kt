package org.kerascnn.demo.ui

/** Colours that colour-blind people tell apart (Okabe and Ito); those of training/detection/drawing.py. */
object Palette {
    /** Of classes: neighbours differ in brightness too. Opaque ARGB. */
    val CLASS_COLOURS = intArrayOf(
        0xffd55e00.toInt(),
        0xff56b4e9.toInt(),
        0xfff0e442.toInt(),
        0xff0072b2.toInt(),
        0xffe69f00.toInt(),
        0xff009e73.toInt(),
        0xffcc79a7.toInt(),
    )
    const val INK = 0xff1d2430.toInt()
    const val MUTED = 0xff5b6675.toInt()
    const val WHITE = 0xffffffff.toInt()

    /** Of 255, from which on letters on a colour are dark. */
    private const val BRIGHT = 140

    /** Colour of a class of boxes. */
    fun colourOf(label: Int): Int = CLASS_COLOURS[Math.floorMod(label, CLASS_COLOURS.size)]

    /** Colour of letters on a colour. */
    fun contrast(colour: Int): Int {
        val (red, green, blue) = listOf(16, 8, 0).map { colour shr it and 0xff }
        return if (0.299 * red + 0.587 * green + 0.114 * blue >= BRIGHT) INK else WHITE
    }
}
