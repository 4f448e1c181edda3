package org.kerascnn.demo.ui

import android.content.Context
import android.net.Uri
import android.provider.DocumentsContract
import android.provider.DocumentsContract.Document
import java.io.IOException

/** A labelled folder of the phone, opened by ACTION_OPEN_DOCUMENT_TREE. */
class LabelledFolder(private val context: Context, private val tree: Uri) : LabelledFiles {
    private class Child(val id: String, val name: String, val type: String)

    /** Its own name. */
    val name: String
        get() = try {
            root().substringAfterLast('/').substringAfterLast(':')
        } catch (_: IOException) {
            tree.toString()
        }

    override fun all(): List<LabelledFile> = below(root(), "", DEPTH)

    private fun below(id: String, path: String, depth: Int): List<LabelledFile> =
        children(id).flatMap { child ->
            when {
                child.type != Document.MIME_TYPE_DIR -> listOf(file(child, path))
                depth > 0 -> below(child.id, "$path${child.name}/", depth - 1)
                else -> emptyList()
            }
        }

    private fun file(child: Child, path: String): LabelledFile {
        val uri = DocumentsContract.buildDocumentUriUsingTree(tree, child.id)
        return LabelledFile(path + child.name, child.type.startsWith("image/")) {
            Pictures.open(context.contentResolver, uri)
        }
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

    private companion object {
        /** Of folders in folders. */
        const val DEPTH = 4
    }
}
