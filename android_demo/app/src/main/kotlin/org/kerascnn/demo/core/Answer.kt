package org.kerascnn.demo.core

/** A class and how likely it is. */
data class Scored(val label: Int, val score: Float)

/**
 * An object; its box is in shares of the picture.
 *
 * @param mask which of the box is the object's; null where the network does not tell.
 */
data class Detection(
    val label: Int,
    val score: Float,
    val top: Float,
    val left: Float,
    val bottom: Float,
    val right: Float,
    val mask: Mask? = null,
)

/** What a network says of a picture, in the picture's own place. */
sealed interface Answer {
    /** The likeliest classes, the best first. */
    class Labels(val top: List<Scored>) : Answer

    /** Objects, the best first. */
    class Boxes(val found: List<Detection>) : Answer

    /**
     * A class for each pixel of the picture, row by row; [VOID] where the network says nothing. The
     * same memory holds the next answer for a picture of this size.
     */
    class ClassMap(val width: Int, val height: Int, val classes: ByteArray) : Answer {
        companion object {
            const val VOID = 255
        }
    }
}
