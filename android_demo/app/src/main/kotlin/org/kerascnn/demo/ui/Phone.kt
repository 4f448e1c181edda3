package org.kerascnn.demo.ui

import android.content.Context
import android.os.Build
import android.os.PowerManager

/** What a table of figures tells of the phone. */
object Phone {
    private val HEAT = listOf("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")

    val device: String
        get() = "${Build.MANUFACTURER} ${Build.MODEL}"

    val soc: String
        get() = if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.S) {
            "${Build.SOC_MANUFACTURER} ${Build.SOC_MODEL}"
        } else {
            Build.HARDWARE
        }

    /** How hot Android finds it, from "none" to "shutdown"; empty before Android 10. */
    fun heat(context: Context): String {
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.Q) return ""
        val status = context.service<PowerManager>().currentThermalStatus
        return HEAT.getOrElse(status) { status.toString() }
    }
}
