package org.kerascnn.demo.ui

import android.content.res.Resources
import org.kerascnn.demo.R
import org.kerascnn.demo.core.SelfTestResult

/** What self-tests came to, in the user's language. */
object SelfTests {
    /** "verified", or by how much answers differ. */
    fun short(resources: Resources, result: SelfTestResult): String = when {
        result.verified -> resources.getString(R.string.selftest_verified)
        result.difference.isFinite() ->
            resources.getString(R.string.selftest_differs, Numbers.smallPercent(result.difference))
        else -> resources.getString(R.string.selftest_broken)
    }

    /** The same with what it was run on, and how far answers may be apart. */
    fun long(resources: Resources, result: SelfTestResult, setup: Setup?): String = resources.getString(
        R.string.selftest_line,
        setup?.let { Runtimes.name(resources, it) }.orEmpty(),
        short(resources, result),
        Numbers.smallPercent(result.tolerance),
    )
}
