package org.kerascnn.demo.core

/**
 * How well a file did on a labelled folder.
 *
 * `unreadable` pictures could not be decoded, or their masks; `unknown` ones have none of the file's
 * labels. Neither counts in `pictures`.
 */
interface Judged {
    /** As `kerascnn` calls it. */
    val metric: String

    /** Null where there was nothing to measure. */
    val percent: Double?
    val pictures: Int
    val unreadable: Int
    val unknown: Int
}

/** AP of boxes, or mIoU of maps. */
data class Overlap(
    override val metric: String,
    override val percent: Double?,
    override val pictures: Int,
    override val unreadable: Int,
    override val unknown: Int,
) : Judged
