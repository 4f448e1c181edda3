package org.kerascnn.demo.ui

import android.content.Context
import android.net.Uri
import org.json.JSONArray
import org.json.JSONException
import org.kerascnn.demo.core.Accelerator

/** How the runtime computes. */
data class Setup(val threads: Int, val accelerator: Accelerator)

/** What the app remembers from one start to the next. */
class Preferences(context: Context) {
    private val stored = context.getSharedPreferences("choices", Context.MODE_PRIVATE)

    /** Key of the chosen model, see `ModelFile`. */
    var model: String?
        get() = stored.getString("model", null)
        set(value) = stored.edit().putString("model", value).apply()

    /** Keys of the files that the user opened, oldest first. */
    var opened: List<String>
        get() = try {
            val list = JSONArray(stored.getString("opened", null) ?: "[]")
            List(list.length(), list::getString)
        } catch (_: JSONException) {
            emptyList()
        }
        set(value) = stored.edit().putString("opened", JSONArray(value).toString()).apply()

    var setup: Setup
        get() = Setup(
            stored.getInt("threads", defaultThreads()).coerceIn(1, mostThreads()),
            if (stored.getBoolean("gpu", false)) Accelerator.GPU else Accelerator.CPU,
        )
        set(value) = stored.edit()
            .putInt("threads", value.threads)
            .putBoolean("gpu", value.accelerator == Accelerator.GPU)
            .apply()

    /** For which the benchmark times a file. */
    var seconds: Int
        get() = stored.getInt("seconds", SECONDS[0]).takeIf { it in SECONDS } ?: SECONDS[0]
        set(value) = stored.edit().putInt("seconds", value).apply()

    /** Folder of pictures with labels. */
    var folder: Uri?
        get() = stored.getString("folder", null)?.let(Uri::parse)
        set(value) = stored.edit().putString("folder", value?.toString()).apply()

    companion object {
        val SECONDS = listOf(5, 10, 30)
        private const val USUAL_THREADS = 4

        fun mostThreads(): Int = Runtime.getRuntime().availableProcessors().coerceAtLeast(1)

        /** Phones have four fast cores or fewer. */
        private fun defaultThreads(): Int = mostThreads().coerceAtMost(USUAL_THREADS)
    }
}
