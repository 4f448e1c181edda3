package org.kerascnn.demo.core

/**
 * A grid of cells with the same anchors about a point of each; see kerascnn/detection/anchors.py.
 *
 * @param sizes height and width of a cell's anchors, as shares of the picture.
 * @param offset of the anchors' centre from its cell's top left corner, in cells.
 */
data class AnchorLevel(
    val rows: Int,
    val columns: Int,
    val sizes: List<Pair<Double, Double>>,
    val offset: Double,
) {
    val count: Long
        get() = rows.toLong() * columns * sizes.size
}

/** Four numbers a box: top, left, bottom and right. */
internal fun anchorBoxes(levels: List<AnchorLevel>): FloatArray {
    val made = FloatArray(4 * levels.sumOf { it.count }.toInt())
    var at = 0
    for (level in levels) {
        for (row in 0 until level.rows) {
            for (column in 0 until level.columns) {
                val y = (row + level.offset) / level.rows
                val x = (column + level.offset) / level.columns
                for ((height, width) in level.sizes) {
                    made[at++] = (y - height / 2).toFloat()
                    made[at++] = (x - width / 2).toFloat()
                    made[at++] = (y + height / 2).toFloat()
                    made[at++] = (x + width / 2).toFloat()
                }
            }
        }
    }
    return made
}
