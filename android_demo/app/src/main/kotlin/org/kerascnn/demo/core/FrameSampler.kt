package org.kerascnn.demo.core

import java.nio.ByteBuffer

/**
 * From a camera's frame to what the network is given, in one pass: sampled, turned, cropped.
 *
 * The filter is that of `Preprocessor`, but over brightness and colours as the camera has them, which
 * saves most of the work: of the frame's pixels only as many are turned into red, green and blue as
 * the network sees. Answers differ from those of a still picture by a level or two of 255. All memory
 * is used again; what is returned is valid until the next frame. For one thread at a time.
 */
class FrameSampler(private val input: InputSpec) {
    private val numbers = InputNumbers(input)
    private val geometry = Geometry(input)
    private val bytes = ByteArray(input.height * input.width * input.channels)
    private var plan: Plan? = null
    private val luma = PlaneSampler()
    private val blue = PlaneSampler()
    private val red = PlaneSampler()

    /** Where a frame of a size goes; the same for frame after frame. */
    private class Plan(
        val width: Int,
        val height: Int,
        val turn: Int,
        val placement: Placement,
        val rows: Axis,
        val columns: Axis,
        val colourRows: Axis,
        val colourColumns: Axis,
        val begin: Int,
        val rowStep: Int,
        val columnStep: Int,
    )

    /**
     * @param turn degrees clockwise, of 0, 90, 180 and 270, by which the frame stands upright.
     */
    fun sample(frame: YuvFrame, turn: Int): Prepared {
        val known = plan?.takeIf {
            it.width == frame.width && it.height == frame.height && it.turn == turn
        }
        val plan = known ?: planned(frame.width, frame.height, turn).also {
            plan = it
            bytes.fill(input.resize.filling)
        }
        luma.take(frame.luma, frame.left, frame.top, frame.width, frame.height)
        if (input.channels == 3) {
            val (left, top) = frame.left / 2 to frame.top / 2
            val (width, height) = (frame.width + 1) / 2 to (frame.height + 1) / 2
            blue.take(frame.blue, left, top, width, height)
            red.take(frame.red, left, top, width, height)
        }
        for (row in 0 until plan.rows.size) {
            val bright = luma.row(plan.rows, row, plan.columns)
            val to = plan.begin + row * plan.rowStep
            if (input.channels == 1) {
                putGrey(bright, plan.columns.size, to, plan.columnStep)
            } else {
                val u = blue.row(plan.colourRows, row, plan.colourColumns)
                val v = red.row(plan.colourRows, row, plan.colourColumns)
                putColours(bright, u, v, plan.columns.size, to, plan.columnStep)
            }
        }
        return Prepared(numbers.of(bytes), plan.placement)
    }

    private fun planned(width: Int, height: Int, turn: Int): Plan {
        require(turn % 90 == 0) { "frames turn by quarters, not by $turn degrees" }
        val quarter = Math.floorMod(turn, 360) / 90
        val swapped = quarter % 2 == 1
        val (wide, high) = if (swapped) height to width else width to height
        val place = geometry.placement(wide, high)
        val across = geometry.across(wide, high)
        val down = geometry.down(wide, high)
        val (byRow, byColumn) = if (swapped) across to down else down to across
        val rows = byRow.turned(height, quarter == 1 || quarter == 2)
        val columns = byColumn.turned(width, quarter == 2 || quarter == 3)
        val (pixel, line) = input.channels to input.channels * input.width
        return Plan(
            width, height, turn, place,
            axis(height, 1, rows), axis(width, 1, columns),
            axis(height, 2, rows), axis(width, 2, columns),
            begin = across.place * pixel + down.place * line,
            rowStep = if (swapped) pixel else line,
            columnStep = if (swapped) line else pixel,
        )
    }

    private fun axis(pixels: Int, coarser: Int, span: Span) =
        Axis(input.interpolation, pixels, coarser, span)

    private fun putGrey(bright: IntArray, count: Int, begin: Int, step: Int) {
        var at = begin
        for (i in 0 until count) {
            bytes[at] = byte((bright[i] + HALF) shr FRACTION)
            at += step
        }
    }

    /** 1.402, 0.344136, 0.714136 and 1.772 in 1/65536. */
    private fun putColours(bright: IntArray, u: IntArray, v: IntArray, count: Int, begin: Int, step: Int) {
        var at = begin
        for (i in 0 until count) {
            val y = (bright[i] shl 16) + ROUNDING
            val blueness = u[i] - GREY
            val redness = v[i] - GREY
            bytes[at] = byte((y + 91881 * redness) shr SHIFT)
            bytes[at + 1] = byte((y - 22553 * blueness - 46802 * redness) shr SHIFT)
            bytes[at + 2] = byte((y + 116130 * blueness) shr SHIFT)
            at += step
        }
    }

    private fun byte(value: Int): Byte =
        (if (value < 0) 0 else if (value > 255) 255 else value).toByte()

    /** Along rows or columns of a plane: of which numbers each sampled one is made. */
    private class Axis(filter: Interpolation, pixels: Int, coarser: Int, span: Span) {
        val size = span.count
        private val weights = Resampling.weights(
            filter,
            (pixels + coarser - 1) / coarser,
            span.from / coarser,
            span.to / coarser,
            span.target,
            BITS,
        )
        private val order = IntArray(size) { at ->
            if (span.reversed) span.target - 1 - span.skip - at else span.skip + at
        }
        val longest = weights.longest
        val shares = weights.shares

        fun first(at: Int): Int = weights.first[order[at]]

        fun count(at: Int): Int = weights.count[order[at]]

        fun begin(at: Int): Int = order[at] * longest
    }

    /** One plane of a frame, of which a row after another is sampled. */
    private class PlaneSampler {
        private var bytes = ByteArray(0)
        private var sums = IntArray(0)
        private var sampled = IntArray(0)
        private var stride = 1
        private var step = 1
        private var length = 0

        fun take(plane: YuvFrame.Plane, left: Int, top: Int, width: Int, height: Int) {
            stride = plane.rowStride
            step = plane.pixelStride
            val length = (width - 1) * step + 1
            val all = (height - 1) * stride + length
            if (bytes.size < all) bytes = ByteArray(all)
            if (sums.size < length) sums = IntArray(length)
            val from = plane.bytes.duplicate()
            from.goTo(top * stride + left * step)
            from.get(bytes, 0, all)
            this.length = length
        }

        /** Numbers of 8 bits and as many behind the point as FRACTION. */
        fun row(rows: Axis, at: Int, columns: Axis): IntArray {
            if (sampled.size < columns.size) sampled = IntArray(columns.size)
            val first = rows.first(at)
            for (j in 0 until rows.count(at)) {
                val share = rows.shares[rows.begin(at) + j]
                if (j == 0) set((first + j) * stride, share) else add((first + j) * stride, share)
            }
            for (column in 0 until columns.size) {
                var sum = 1 shl (BITS - 1)
                var from = columns.first(column) * step
                val begin = columns.begin(column)
                for (j in begin until begin + columns.count(column)) {
                    sum += (sums[from] shr DROPPED) * columns.shares[j]
                    from += step
                }
                // Filters with negative weights overshoot.
                val number = sum shr BITS
                sampled[column] = if (number < 0) 0 else if (number > MOST) MOST else number
            }
            return sampled
        }

        private fun set(begin: Int, share: Int) {
            for (i in 0 until length) sums[i] = (bytes[begin + i].toInt() and 0xff) * share
        }

        private fun add(begin: Int, share: Int) {
            for (i in 0 until length) sums[i] += (bytes[begin + i].toInt() and 0xff) * share
        }
    }

    private companion object {
        const val BITS = 14 // behind the point of a weight
        const val FRACTION = 6 // and of what is sampled
        const val MOST = 255 shl FRACTION
        const val DROPPED = BITS - FRACTION
        const val HALF = 1 shl (FRACTION - 1)
        const val GREY = 128 shl FRACTION
        const val SHIFT = 16 + FRACTION
        const val ROUNDING = 1 shl (SHIFT - 1)
    }
}

/** What a network is given, and where the picture lies on it. */
class Prepared(val input: ByteBuffer, val placement: Placement)
