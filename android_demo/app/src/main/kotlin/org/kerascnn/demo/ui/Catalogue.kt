package org.kerascnn.demo.ui

import android.content.Context
import android.content.Intent
import android.content.res.Resources
import org.kerascnn.demo.R
import org.kerascnn.demo.core.ModelDescription
import org.kerascnn.demo.core.Task

/** The models that can be chosen: the app's own, then those that the user opened. */
class Catalogue(private val context: Context, private val preferences: Preferences) {
    /**
     * What a file says of itself.
     *
     * @param description null where `problem` says why.
     */
    class Entry(
        val file: ModelFile,
        val name: String,
        val bytes: Long,
        val description: ModelDescription?,
        val problem: Problem?,
    ) {
        val title: String
            get() = description?.let(::titleOf) ?: name

        fun subtitle(resources: Resources): String {
            val known = description ?: return problem?.text(resources).orEmpty()
            return resources.getString(
                R.string.model_line,
                resources.getString(taskName(known.task)),
                known.input.width.toString(),
                known.input.height.toString(),
                resources.getString(R.string.megabytes, Numbers.megabytes(bytes)),
                name,
            )
        }
    }

    fun files(): List<ModelFile> =
        assets(context) + preferences.opened.mapNotNull(ModelFile::of)

    /** Read a file's own words; away from the main thread. */
    fun entry(file: ModelFile): Entry {
        val name = file.name(context)
        return guarded({ Entry(file, name, 0, null, it) }) {
            val bytes = file.bytes(context)
            Entry(file, name, bytes.limit().toLong(), ModelDescription.read(bytes), null)
        }
    }

    /** Keep a file that the user opened, as long as its provider lets us. */
    fun add(file: ModelFile.Opened) {
        try {
            context.contentResolver.takePersistableUriPermission(file.uri, READ)
        } catch (_: SecurityException) {
            // Good until the app ends; after that the file is reported as unreadable.
        }
        preferences.opened = preferences.opened - file.key + file.key
    }

    fun remove(file: ModelFile.Opened) {
        preferences.opened = preferences.opened - file.key
        try {
            context.contentResolver.releasePersistableUriPermission(file.uri, READ)
        } catch (_: SecurityException) {
            // It was not persisted.
        }
    }

    companion object {
        private const val READ = Intent.FLAG_GRANT_READ_URI_PERMISSION

        /** Lists the app's own models; tests put their own list here. */
        @Volatile
        var assets: (Context) -> List<ModelFile> = ModelFile::assets

        /** What people call a model. */
        fun titleOf(description: ModelDescription): String =
            listOf(description.model, description.variant).filter(String::isNotEmpty)
                .joinToString(" · ").ifEmpty { description.name }

        fun taskName(task: Task): Int = when (task) {
            Task.CLASSIFICATION -> R.string.task_classification
            Task.MULTILABEL -> R.string.task_multilabel
            Task.DETECTION -> R.string.task_detection
            Task.SEGMENTATION -> R.string.task_segmentation
        }
    }
}
