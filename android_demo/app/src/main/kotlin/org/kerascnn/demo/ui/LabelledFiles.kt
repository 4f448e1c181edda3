package org.kerascnn.demo.ui

import java.io.IOException
import java.io.InputStream
import org.kerascnn.demo.core.BoxedPicture
import org.kerascnn.demo.core.LabelledPicture
import org.kerascnn.demo.core.MaskPng
import org.kerascnn.demo.core.MaskedPicture
import org.kerascnn.demo.core.Picture

/**
 * Pictures and what is right about them: a sub-folder a class; a COCO .json; or two folders, of
 * pictures and of masks.
 */
interface LabelledFiles {
    /**
     * All there are, in the order of their paths.
     *
     * @throws IOException the folder is gone, or closed to us.
     */
    fun all(): List<LabelledFile>
}

/**
 * A file of the folder.
 *
 * @param path below the folder, as in "cat/1.jpg".
 * @param open throws an IOException where it cannot be read.
 */
class LabelledFile(val path: String, val isPicture: Boolean, val open: () -> InputStream) {
    val folder: String
        get() = path.substringBeforeLast('/', "")

    val stem: String
        get() = path.substringAfterLast('/').substringBeforeLast('.')

    /** A picture that cannot be read is none. */
    fun picture(): Picture? = try {
        Pictures.read(open)
    } catch (_: IOException) {
        null
    }
}

/** Pictures of a folder for each task, as a file with those labels is judged by them. */
class Judging(files: LabelledFiles) {
    private val all = files.all()
    private val pictures = all.filter { it.isPicture }

    fun labelled(): List<LabelledPicture> = pictures
        .filter { it.path.count { letter -> letter == '/' } == 1 }
        .map { LabelledPicture(it.folder, it::picture) }

    /**
     * Of the .json of a COCO set: one that is called "instances" or "coco", else the first there is.
     *
     * @return those with their objects, and how many are left out since they have none of the labels
     *     in their .json; null without such a file.
     * @throws IOException its .json is broken.
     */
    fun boxed(labels: List<String>): Pair<List<BoxedPicture>, Int>? {
        val json = all.filter { it.path.endsWith(".json", ignoreCase = true) }
        val annotations = json.firstOrNull { file -> listOf("instances", "coco").any { it in file.path } }
            ?: json.firstOrNull() ?: return null
        val truth = annotations.open().use { CocoTruth.read(it) }
        if (!truth.knows(labels)) return emptyList<BoxedPicture>() to truth.names.size
        val byPath = pictures.associateBy { it.path }
        val byName = pictures.groupBy { it.path.substringAfterLast('/') }
        val beside = if (annotations.folder.isEmpty()) "" else "${annotations.folder}/"
        return truth.of(labels).map { (name, there) ->
            val file = byPath[beside + name] ?: byPath[name] ?: byPath["images/$name"]
                ?: byName[name.substringAfterLast('/')]?.singleOrNull()
            BoxedPicture(there) { file?.picture() }
        } to 0
    }

    /** Of images/ and masks/, by their names; null without these folders. */
    fun masked(): List<MaskedPicture>? {
        val masks = pictures.filter { it.folder.substringBefore('/') == MASKS }
            .associateBy { below(it) }
        if (masks.isEmpty()) return null
        return pictures.filter { it.folder.substringBefore('/') == IMAGES }.mapNotNull { picture ->
            val own = below(picture)
            val mask = masks[own] ?: masks["${own}_mask"] ?: return@mapNotNull null
            MaskedPicture({ numbers(mask) }, picture::picture)
        }
    }

    private fun below(file: LabelledFile): String = "${file.folder.substringAfter('/', "")}/${file.stem}"

    private fun numbers(mask: LabelledFile) = try {
        mask.open().use(MaskPng::read)
    } catch (_: IOException) {
        null
    }

    private companion object {
        const val IMAGES = "images"
        const val MASKS = "masks"
    }
}
