package org.kerascnn.demo.ui

import java.math.BigDecimal
import java.math.MathContext
import java.text.NumberFormat
import java.util.Locale

/** Numbers as the user's language writes them. */
object Numbers {
    private const val MEGABYTE = 1e6

    /** A share of 1 in percent. */
    fun percent(share: Double): String =
        NumberFormat.getPercentInstance().apply { maximumFractionDigits = 1 }.format(share)

    /** The same with two digits that say something. */
    fun smallPercent(share: Double): String {
        val rounded = BigDecimal(share).round(MathContext(2))
        return NumberFormat.getPercentInstance()
            .apply { maximumFractionDigits = maxOf(0, rounded.stripTrailingZeros().scale() - 2) }
            .format(rounded)
    }

    /** A score of a detection: two digits. */
    fun score(score: Double): String = String.format(Locale.getDefault(), "%.2f", score)

    /** Milliseconds: three digits that say something. */
    fun milliseconds(value: Double): String {
        val digits = if (value < 9.995) 2 else if (value < 99.95) 1 else 0
        return String.format(Locale.getDefault(), "%.${digits}f", value)
    }

    /** Bytes in megabytes, without the unit. */
    fun megabytes(bytes: Long): String =
        String.format(Locale.getDefault(), if (bytes < MEGABYTE) "%.2f" else "%.1f", bytes / MEGABYTE)
}
