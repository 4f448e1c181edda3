package org.kerascnn.demo.ui

import android.content.ContentProvider
import android.content.ContentValues
import android.content.Context
import android.database.Cursor
import android.database.MatrixCursor
import android.net.Uri
import android.os.ParcelFileDescriptor
import android.provider.OpenableColumns
import java.io.File
import java.io.FileNotFoundException

/** Hands one file, the last table that was shared, to the app that the user shares it with. */
class ResultsProvider : ContentProvider() {
    override fun onCreate(): Boolean = true

    override fun getType(uri: Uri): String = MIME

    override fun query(
        uri: Uri,
        projection: Array<out String>?,
        selection: String?,
        selectionArgs: Array<out String>?,
        sortOrder: String?,
    ): Cursor {
        val known = mapOf<String, Any>(
            OpenableColumns.DISPLAY_NAME to NAME,
            OpenableColumns.SIZE to file(here()).length(),
        )
        val columns = (projection?.toList() ?: known.keys).filter { it in known }
        return MatrixCursor(columns.toTypedArray(), 1).apply { addRow(columns.map { known[it] }) }
    }

    override fun openFile(uri: Uri, mode: String): ParcelFileDescriptor {
        if (uri != uri(here()) || mode != "r") throw FileNotFoundException("$uri is not there for $mode")
        return ParcelFileDescriptor.open(
            file(here()),
            ParcelFileDescriptor.MODE_READ_ONLY,
        )
    }

    override fun insert(uri: Uri, values: ContentValues?): Uri? = null

    override fun update(
        uri: Uri,
        values: ContentValues?,
        selection: String?,
        selectionArgs: Array<out String>?,
    ): Int = 0

    override fun delete(uri: Uri, selection: String?, selectionArgs: Array<out String>?): Int = 0

    private fun here(): Context = checkNotNull(context)

    companion object {
        const val MIME = "text/csv"
        private const val NAME = "results-from-phone.csv"

        /** The authority is the manifest's, which follows the application's id. */
        fun uri(context: Context): Uri =
            Uri.parse("content://${context.packageName}.results/$NAME")

        /** Write the table; it is there until the next one. */
        fun write(context: Context, csv: String): Uri {
            file(context).apply { parentFile?.mkdirs() }.writeText(csv)
            return uri(context)
        }

        private fun file(context: Context): File = File(context.cacheDir, "shared/$NAME")
    }
}
