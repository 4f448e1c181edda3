package org.kerascnn.demo.ui

import android.content.Context
import android.net.Uri
import android.provider.DocumentsContract
import android.provider.DocumentsContract.Document
import java.io.IOException

/** A folder of the phone with one sub-folder a class, opened by ACTION_OPEN_DOCUMENT_TREE. */
class LabelledFolder(private val context: Context, private val tree: Uri) {
    private class Child(val id: String, val name: String, val type: String)

    /** Its own name. */
    val name: String
        get() = try {
            root().substringAfterLast('/').substringAfterLast(':')
        } catch (_: IOException) {
            tree.toString()
        }

    /**
     * All pictures, each with the name of its folder, in the order of their names.
     *
     * @throws IOException the folder is gone, or closed to us.
     */
    fun pictures(): List<Pair<String, Uri>> = children(root())
        .filter { it.type == Document.MIME_TYPE_DIR }
        .flatMap { folder ->
            children(folder.id)
                .filter { it.type.startsWith("image/") }
                .map { folder.name to DocumentsContract.buildDocumentUriUsingTree(tree, it.id) }
        }

    /** @throws IOException it is no folder. */
    private fun root(): String = foreign { DocumentsContract.getTreeDocumentId(tree) }

    private fun children(id: String): List<Child> {
        val columns = arrayOf(
            Document.COLUMN_DOCUMENT_ID,
            Document.COLUMN_DISPLAY_NAME,
            Document.COLUMN_MIME_TYPE,
        )
        val inside = DocumentsContract.buildChildDocumentsUriUsingTree(tree, id)
        val found = mutableListOf<Child>()
        foreign {
            val cursor = context.contentResolver.query(inside, columns, null, null, null)
                ?: throw IOException("nothing behind $inside")
            cursor.use {
                while (it.moveToNext()) {
                    found += Child(it.getString(0), it.getString(1).orEmpty(), it.getString(2).orEmpty())
                }
            }
        }
        return found.sortedBy(Child::name)
    }
}
