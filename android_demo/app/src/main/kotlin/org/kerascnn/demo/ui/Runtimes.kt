package org.kerascnn.demo.ui

import android.content.res.Resources
import org.kerascnn.demo.R
import org.kerascnn.demo.core.Accelerator

/** How setups are called. */
object Runtimes {
    fun name(resources: Resources, setup: Setup): String = when (setup.accelerator) {
        Accelerator.CPU ->
            resources.getQuantityString(R.plurals.cpu_threads, setup.threads, setup.threads)
        Accelerator.GPU -> resources.getString(R.string.gpu)
    }
}
